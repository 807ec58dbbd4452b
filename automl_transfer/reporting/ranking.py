"""The ranking of one study: strategies in order, and when the incumbent changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from automl_transfer.domain.records import EpochResult, TrialRecord, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import Metric, Task
from automl_transfer.reporting.statistics import best_set, wilson

BEST_SET: Literal["a"] = "a"

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RankedTask(BaseModel):
    """The task as the ranking names it."""

    model_config = _FROZEN

    name: str
    fingerprint: str
    metric: Metric


class ValidationScore(BaseModel):
    """One strategy on the validation split.

    Attributes:
        score: The task's metric, which the rows are ordered by.
        interval: 95% Wilson interval of the accuracy, for a strategy that was named beforehand. The
            best row was picked for its score: expect its accuracy on new images to be lower.
        nll: Mean negative log-likelihood in nats.
        n: Number of images.
        seeds: Number of training runs behind the row.
    """

    model_config = _FROZEN

    score: float
    accuracy: float
    interval: tuple[float, float]
    nll: float
    n: int
    seeds: int = 1


class Row(BaseModel):
    """One strategy.

    Attributes:
        set: "a" where the strategy cannot be told apart from the best (`statistics.best_set`), else
            None. Known only where the metric is the accuracy: the curve of a trial does not hold what
            the spread of the other metrics depends on, so there it is None in every row.
        root_trial: Number of the first trial of the strategy.
        epochs: Epochs trained until the weights that are ranked; 0 for a closed-form strategy.
    """

    model_config = _FROZEN

    rank: int = Field(ge=1)
    set: Literal["a"] | None
    root_trial: int
    strategy: Strategy
    description: str
    validation: ValidationScore
    epochs: int
    train_seconds: float
    predict_ms_per_image: float | None
    parameters: int | None


class TimelinePoint(BaseModel):
    """From these seconds after the study's first trial began, this strategy was the best known."""

    model_config = _FROZEN

    seconds: float
    root_trial: int
    validation_accuracy: float


class Ranking(BaseModel):
    """The content of `ranking.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    schema_: Literal["automl-transfer/ranking/1"] = Field(default="automl-transfer/ranking/1", alias="schema")
    task: RankedTask
    study: str
    rows: tuple[Row, ...]
    timeline: tuple[TimelinePoint, ...]

    def to_json(self) -> str:
        """The file's text, keys in a fixed order."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    @property
    def best(self) -> Row | None:
        """The row at the top, if any trial completed."""
        return self.rows[0] if self.rows else None


def rank(records: Iterable[TrialRecord], task: Task, study: str) -> Ranking:
    """Order the strategies of a study by the task's metric on the validation split.

    Only COMPLETE trials count: a pruned trial's last value says little about where it would have
    ended. Ties are broken by validation NLL, then by prediction time, then by training time.
    """
    everything = list(records)
    chosen = sorted(one_per_strategy(everything), key=lambda record: _order(record, task.metric))
    scores = [_validation(record, task) for record in chosen]
    if task.metric == "accuracy":
        n = task.splits.validation
        together = best_set([_correct(score.accuracy, n) for score in scores], n)
    else:
        together = [False] * len(scores)
    rows = tuple(
        _row(position, record, score, in_set, task.metric)
        for position, (record, score, in_set) in enumerate(zip(chosen, scores, together, strict=True), 1)
    )
    return Ranking(
        task=RankedTask(name=task.name, fingerprint=task.fingerprint, metric=task.metric),
        study=study,
        rows=rows,
        timeline=_timeline(everything, chosen, task.metric),
    )


def can_be_ranked(record: TrialRecord) -> bool:
    """Whether a trial is complete and says what it did: its strategy and its curve."""
    return record.state is TrialState.COMPLETE and record.strategy is not None and bool(record.epochs)


def one_per_strategy(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """One complete trial for each strategy.

    Of the continuations of one root the latest counts. Of several roots with equal strategies the first
    counts, not the best: else a strategy would rise for having been tried more often.
    """
    by_root: dict[int, TrialRecord] = {}
    for record in records:
        known = by_root.get(record.root)
        if can_be_ranked(record) and (known is None or known.number < record.number):
            by_root[record.root] = record
    by_key: dict[str, TrialRecord] = {}
    for _, record in sorted(by_root.items()):
        assert record.strategy is not None
        by_key.setdefault(record.strategy.key(), record)
    return list(by_key.values())


def ranked_epoch(record: TrialRecord, metric: Metric) -> EpochResult:
    """The epoch whose weights a trial kept."""
    kept = record.outcome.best_epoch if record.outcome else None
    for epoch in record.epochs:
        if epoch.epoch == kept:
            return epoch
    best = record.best_epoch(metric)
    assert best is not None, "only trials with a curve are ranked"
    return best


def _order(record: TrialRecord, metric: Metric) -> tuple[float, float, float, float, int]:
    epoch = ranked_epoch(record, metric)
    outcome = record.outcome
    return (
        -round(epoch.score(metric), 12),
        epoch.validation_loss,
        outcome.predict_ms_per_image if outcome else float("inf"),
        _train_seconds(record),
        record.root,
    )


def _train_seconds(record: TrialRecord) -> float:
    return record.outcome.train_seconds if record.outcome else record.seconds


def _correct(accuracy: float, n: int) -> int:
    return round(accuracy * n)


def _validation(record: TrialRecord, task: Task) -> ValidationScore:
    epoch = ranked_epoch(record, task.metric)
    n = task.splits.validation
    return ValidationScore(
        score=epoch.score(task.metric),
        accuracy=epoch.accuracy,
        interval=wilson(_correct(epoch.accuracy, n), n),
        nll=epoch.validation_loss,
        n=n,
    )


def _row(position: int, record: TrialRecord, score: ValidationScore, in_set: bool, metric: Metric) -> Row:
    assert record.strategy is not None
    strategy = record.strategy.canonical()
    return Row(
        rank=position,
        set=BEST_SET if in_set else None,
        root_trial=record.root,
        strategy=strategy,
        description=strategy.describe(),
        validation=score,
        epochs=ranked_epoch(record, metric).epoch,
        train_seconds=_train_seconds(record),
        predict_ms_per_image=record.outcome.predict_ms_per_image if record.outcome else None,
        parameters=record.outcome.parameters if record.outcome else None,
    )


def _timeline(
    everything: list[TrialRecord], ranked: list[TrialRecord], metric: Metric
) -> tuple[TimelinePoint, ...]:
    begins = [record.started for record in everything if record.started is not None]
    if not begins:
        return ()
    begin = min(begins)
    ends = sorted(
        ((record.finished, record) for record in ranked if record.finished is not None),
        key=lambda pair: (pair[0], pair[1].number),
    )
    points: list[TimelinePoint] = []
    incumbent: TrialRecord | None = None
    for finished, record in ends:
        if incumbent is None or _order(record, metric) < _order(incumbent, metric):
            incumbent = record
            points.append(
                TimelinePoint(
                    # A worker's clock may lag behind another's.
                    seconds=max(0.0, (finished - begin).total_seconds()),
                    root_trial=record.root,
                    validation_accuracy=ranked_epoch(record, metric).accuracy,
                )
            )
    return tuple(points)
