"""The ranking of one study: strategies in order, and when the incumbent changed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from itertools import takewhile
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from automl_transfer.domain.account import Account
from automl_transfer.domain.evidence import ExtraRun, TestLook
from automl_transfer.domain.measured import Metric
from automl_transfer.domain.names import public_source
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.spec import CONFIRM_RUNS
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.strict_json import Frozen, unsaid
from automl_transfer.domain.task import Task, TrainingWeights
from automl_transfer.reporting.candidates import by_validation, order_by_validation, ranked_epoch
from automl_transfer.reporting.confirmed import (
    BY_VALIDATION,
    ERROR_RATE,
    accuracy_interval,
    arms_of,
    epoch_interval,
    pool_groups,
    unpacked_of,
    validation_groups,
)
from automl_transfer.reporting.panel import Panel
from automl_transfer.reporting.racing import FIRST_RUNS, ConfirmationProgress
from automl_transfer.reporting.statistics import paired_set, sums_of_groups

BEST_SET: Literal["a"] = "a"


class RankedTask(Frozen):
    """The task as the ranking names it; `account` says what became of every file of it."""

    name: str
    fingerprint: str
    metric: Metric
    account: Account | None = None
    weights: TrainingWeights | None = Field(default=None, exclude_if=unsaid)


class ValidationScore(Frozen):
    """One strategy on the validation split.

    Attributes:
        score: The task's metric, which the rows are ordered by.
        interval: 95% interval of the accuracy (`confirmed.validation_interval`), for a strategy named
            beforehand. The best row was picked for its score: expect its accuracy on new images to be lower,
            and see its confirmation.
        nll: Mean negative log-likelihood in nats.
        calibrated_nll: The same after one temperature was fitted on these images, which decides between
            equal scores; None where an earlier version trained the strategy.
        n: Number of images.
        seeds: Number of training runs behind the row.
    """

    score: float
    accuracy: float
    interval: tuple[float, float]
    nll: float
    calibrated_nll: float | None = None
    n: int
    seeds: int = 1


class Confirmation(Frozen):
    """A strategy trained again with fresh seeds, each on a fresh split of training + validation images.

    Attributes:
        score, accuracy: Means over the runs (`Panel.score`), on images that did not choose the candidates,
            less the flattery; the score is the task's metric.
        interval: 95% interval of the accuracy over seeds and images (`confirmed.accuracy_interval`).
        runs: Trainings.
        images: Different images that the score is a mean over.
        left_out: Different images that were judged as well, but had chosen the candidates; 0 where earlier
            versions trained, which did not say.
        flattery: What was taken off the score: by how much the best of several looks too good for being the
            best of these runs.
        behind: By how much the best confirmed row's score is higher, image by image on their common runs;
            and its 95% interval. These are over all judged images. None for that row itself.
        seconds: All runs together.
    """

    score: float
    accuracy: float
    interval: tuple[float, float]
    runs: int
    images: int
    left_out: int = 0
    flattery: float = 0.0
    behind: float | None = None
    behind_interval: tuple[float, float] | None = None
    seconds: float


class RankedStrategy(Frozen):
    """One strategy.

    Attributes:
        set: "a" where the strategy cannot be told apart from the best, else None: by its confirmation
            (`Panel.kept`), or by the validation images where it was not confirmed, image by image
            (`statistics.paired_set`); 5% error over all comparisons. For metrics other than the accuracy
            the curve of a trial does not hold what their spread depends on: there only confirmed
            strategies have a set.
        confirmation: None for a strategy that was not confirmed.
        root_trial: Number of the first trial of the strategy.
        epochs: Epochs trained until the weights that are ranked; 0 for a closed-form strategy.
        robust_accuracy: On the validation images under the study's attack; None where it has none.
    """

    rank: int = Field(ge=1)
    set: Literal["a"] | None
    root_trial: int
    strategy: Strategy
    description: str
    validation: ValidationScore
    confirmation: Confirmation | None = None
    epochs: int
    train_seconds: float
    predict_ms_per_image: float | None
    parameters: int | None
    robust_accuracy: float | None = Field(default=None, exclude_if=unsaid)


class TimelinePoint(Frozen):
    """From these seconds after the study's first trial began, this strategy was the best known."""

    seconds: float
    root_trial: int
    validation_accuracy: float


class Ranking(Frozen):
    """The content of `ranking.json`.

    Attributes:
        identity: The study's, which its name may not be for ever.
        confirmation: None where the study asks for none, and in files of earlier versions.
        ended: Why the search ended before its budget; None where it did not, or goes on.
        test_looks: Evaluations on the test split, in order; the last one need not be of today's best row.
    """

    schema_: Literal["automl-transfer/ranking/1"] = Field(default="automl-transfer/ranking/1", alias="schema")
    task: RankedTask
    study: str
    identity: str | None = None
    rows: tuple[RankedStrategy, ...]
    timeline: tuple[TimelinePoint, ...]
    confirmation: ConfirmationProgress | None = None
    ended: str | None = None
    test_looks: tuple[TestLook, ...] = ()

    def to_json(self) -> str:
        """The file's text, keys in a fixed order."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    @property
    def best(self) -> RankedStrategy | None:
        """The row at the top, if any trial completed."""
        return self.rows[0] if self.rows else None


def rank(
    records: Iterable[TrialRecord],
    task: Task,
    study: str,
    runs: Iterable[ExtraRun] = (),
    *,
    identity: str | None = None,
    confirm_runs: int = CONFIRM_RUNS,
    failed: Collection[int] = (),
) -> Ranking:
    """Order the strategies of a study by the task's metric.

    Only COMPLETE trials count: a pruned trial's last value says little about where it would have
    ended. Confirmed strategies come first, compared on the same runs and images (`Panel.order`): those that
    may be the best, then those that were ruled out. The others follow by their validation score, ties broken
    by validation NLL after calibration (`records.order_among`), then by prediction time, then by training
    time. But what validation puts clearly ahead of every confirmed one stays ahead (`_ahead`): nobody has
    compared it with them yet, because a search went on, or its time was up.

    Args:
        records: Trials of the study.
        task: What they were trained on.
        study: Its name.
        runs: Confirmation runs (`domain.evidence.ExtraRun`).
        identity: Of the study.
        confirm_runs: At most so many of each were to be made (`search.confirm_runs`).
        failed: Strategies, by root, of which a confirmation run failed: they do not stay ahead.
    """
    everything = list(records)
    chosen = by_validation(everything, task.metric)
    arms = arms_of(runs)
    if any(len(arm.runs) >= FIRST_RUNS for arm in arms.values()):  # one that failed early is not confirmed
        arms = {root: arm for root, arm in arms.items() if len(arm.runs) >= FIRST_RUNS}
    confirmed = [arms[record.root] for record in chosen if record.root in arms]
    panel = Panel(confirmed, task.metric, pool_groups(task))
    ahead = _ahead(chosen, panel, failed, task)
    scores = {record.root: _validation(record, task) for record in chosen}
    together = _sets(chosen, scores, panel, ahead, task, confirm_runs)
    place = {root: at for at, root in enumerate(panel.order)}
    chosen.sort(key=lambda r: (r.root not in ahead, r.root not in place,
                               r.root in place and not together[r.root], place.get(r.root, 0)))  # fmt: skip
    first = next((record.root for record in chosen if record.root in place), None)
    confirmations = {} if first is None else _confirmations(panel, first)
    rows = tuple(
        _row(
            position,
            record,
            scores[record.root],
            confirmations.get(record.root),
            together[record.root],
            task.metric,
        )
        for position, record in enumerate(chosen, 1)
    )
    return Ranking(
        task=RankedTask(
            name=task.name,
            fingerprint=task.fingerprint,
            metric=task.metric,
            account=task.account,
            weights=task.weights,
        ),
        study=study,
        identity=identity,
        rows=rows,
        timeline=_timeline(everything, chosen, task.metric),
    )


def _ahead(chosen: list[TrialRecord], panel: Panel, failed: Collection[int], task: Task) -> set[int]:
    """Strategies, by root, that validation puts ahead of all confirmed ones, and clearly ahead of the best.

    Clearly is by more than a standard error, image by image: less is the luck of having been picked.
    """
    if not panel.roots:
        return set()
    (best,) = (record for record in chosen if record.root == panel.order[0])
    before = takewhile(lambda record: record.root not in panel.roots, chosen)
    return {each.root for each in before if each.root not in failed and _is_clear(each, best, task)}


def _is_clear(record: TrialRecord, best: TrialRecord, task: Task) -> bool:
    """Whether a lead is more than a standard error; of other metrics than the accuracy any lead is."""
    n = task.splits.validation
    if task.metric != "accuracy":
        return True
    ours, theirs = _right(record, n), _right(best, n)
    if ours is None or theirs is None:  # of an earlier version: as if they never erred together
        rights = [_correct(ranked_epoch(each, "accuracy").accuracy, n) for each in (record, best)]
        return rights[0] - rights[1] > math.sqrt(2 * n - sum(rights))
    each = ours.astype(float) - theirs.astype(float)
    spread = sums_of_groups(each, validation_groups(task))
    return float(each.sum()) > math.sqrt(float(np.square(spread).sum()))


def _sets(
    chosen: list[TrialRecord],
    scores: dict[int, ValidationScore],
    panel: Panel,
    ahead: Collection[int],
    task: Task,
    confirm_runs: int,
) -> dict[int, bool]:
    """Which strategies are in the set of the best, by root. The error rate is shared by both stages."""
    if task.metric == "accuracy":
        rate = BY_VALIDATION if panel.roots else ERROR_RATE
        n = task.splits.validation
        right = [_right(record, n) for record in chosen]
        successes = [_correct(scores[record.root].accuracy, n) for record in chosen]
        kept = paired_set(right, successes, n, rate, validation_groups(task))
        together = {record.root: keep for record, keep in zip(chosen, kept, strict=True)}
    else:
        together = {record.root: record.root in panel.roots or record.root in ahead for record in chosen}
    by_confirmation = dict(zip(panel.roots, panel.kept(confirm_runs), strict=True))
    if ahead:  # only validation compares the confirmed ones with the best
        return {root: keep and by_confirmation.get(root, True) for root, keep in together.items()}
    return together | by_confirmation


def _confirmations(panel: Panel, best: int) -> dict[int, Confirmation]:
    """What is said of each confirmed strategy, by root."""
    of_accuracy = panel if panel.metric == "accuracy" else Panel(panel.arms, "accuracy", panel.groups)
    found = {}
    for arm in panel.arms:
        accuracy = of_accuracy.score(arm.root)
        gap = panel.gap(best, arm.root) if arm.root != best else None
        known = gap is not None and gap.variance < float("inf")
        found[arm.root] = Confirmation(
            score=panel.score(arm.root).mean,
            accuracy=accuracy.mean,
            interval=accuracy_interval(accuracy),
            runs=accuracy.runs,
            images=accuracy.images,
            left_out=panel.judged(arm.root) - accuracy.images,
            flattery=panel.flattery,
            behind=gap.mean if gap is not None else None,
            behind_interval=gap.interval() if gap is not None and known else None,
            seconds=sum(run.seconds for run in arm.runs.values()),
        )
    return found


def _correct(accuracy: float, n: int) -> int:
    return round(accuracy * n)


def _right(record: TrialRecord, n: int) -> npt.NDArray[np.bool_] | None:
    """Which of the n validation images a strategy gets right; None where that is not known."""
    return unpacked_of(ranked_epoch(record, "accuracy").right, n)


def _validation(record: TrialRecord, task: Task) -> ValidationScore:
    epoch = ranked_epoch(record, task.metric)
    n = task.splits.validation
    return ValidationScore(
        score=epoch.score(task.metric),
        accuracy=epoch.accuracy,
        interval=epoch_interval(epoch, task),
        nll=epoch.validation_loss,
        calibrated_nll=epoch.calibrated_loss,
        n=n,
    )


def _row(
    position: int,
    record: TrialRecord,
    score: ValidationScore,
    confirmation: Confirmation | None,
    in_set: bool,
    metric: Metric,
) -> RankedStrategy:
    assert record.strategy is not None
    strategy = record.strategy.canonical()
    strategy = strategy.model_copy(update={"source": public_source(strategy.source)})
    return RankedStrategy(
        rank=position,
        set=BEST_SET if in_set else None,
        root_trial=record.root,
        strategy=strategy,
        description=strategy.describe(),
        validation=score,
        confirmation=confirmation,
        epochs=ranked_epoch(record, metric).epoch,
        train_seconds=record.train_seconds,
        predict_ms_per_image=record.outcome.predict_ms_per_image if record.outcome else None,
        parameters=record.outcome.parameters if record.outcome else None,
        robust_accuracy=record.outcome.robust_accuracy if record.outcome else None,
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
    order = order_by_validation(ranked, metric)
    for finished, record in ends:
        if incumbent is None or order(record) < order(incumbent):
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
