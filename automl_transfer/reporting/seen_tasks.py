"""The tasks that a store has seen: which of them are like a new one, and what won there."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from automl_transfer.domain.measured import Metric
from automl_transfer.domain.names import public_source
from automl_transfer.domain.records import EpochResult, TrialRecord, order_among
from automl_transfer.domain.signature import TaskSignature
from automl_transfer.errors import AutomlTransferError
from automl_transfer.knowledge.similarity import distance
from automl_transfer.search.earlier import MOST_STUDIES
from automl_transfer.store.signatures import Signatures
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials

log = logging.getLogger(__name__)


@dataclass
class SeenTask:
    """A task of the store's studies that has a signature.

    Attributes:
        name: The dataset's, as the latest study names it.
        metric: Of the latest study that has a complete strategy.
        studies: Names of its studies, the oldest first.
        winner: What was best by validation, among all complete strategies of that metric; None for none.
        score: Of it.
        by_source: The best score of a strategy that began with a source, by the source.
    """

    signature: TaskSignature
    name: str
    metric: Metric
    studies: list[str] = field(default_factory=list)
    winner: TrialRecord | None = None
    score: float | None = None
    by_source: dict[str, float] = field(default_factory=dict)


def seen_tasks(store: Store) -> list[SeenTask]:
    """Every task of the store with a signature and a study; studies that cannot be read are left out."""
    signatures = {each.task: each for each in Signatures(store).all()}
    found: dict[str, SeenTask] = {}
    best: dict[str, EpochResult] = {}
    entries = [entry for entry in store.studies() if entry.ours] if signatures else []
    for entry in entries[-MOST_STUDIES:]:
        try:
            study = store.study(entry.identity or entry.name)
            signature = signatures.get(study.task.fingerprint)
            if signature is None:
                continue
            records = Trials(store).records(study)
        except AutomlTransferError as error:
            log.info("study %s is left out: %s", entry.name, error)
            continue
        metric = study.task.metric
        seen = found.setdefault(signature.task, SeenTask(signature, study.task.name, metric))
        seen.name = study.task.name
        seen.studies.append(study.name)
        if metric != seen.metric and any(record.can_be_ranked for record in records):
            seen.metric, seen.winner, seen.score, seen.by_source = metric, None, None, {}
            best.pop(signature.task, None)
        for record in records:
            if record.can_be_ranked:
                _take_in(seen, record, metric, best)
    return list(found.values())


def _take_in(seen: SeenTask, record: TrialRecord, metric: Metric, best: dict[str, EpochResult]) -> None:
    epoch = record.best_epoch(metric)
    if epoch is None or record.strategy is None or not math.isfinite(score := epoch.score(metric)):
        return
    source = public_source(record.strategy.source)
    seen.by_source[source] = max(score, seen.by_source.get(source, score))
    ahead = best.get(seen.signature.task)
    order = order_among([epoch] if ahead is None else [epoch, ahead], metric)
    if ahead is None or order(epoch) > order(ahead):
        best[seen.signature.task], seen.winner, seen.score = epoch, record, score


def nearest(mine: TaskSignature, tasks: Iterable[SeenTask], most: int = 3) -> list[tuple[float, SeenTask]]:
    """The tasks that are most like one, with their distances (`knowledge.similarity`), the nearest first."""
    apart = [(distance(mine, seen.signature), seen) for seen in tasks]
    return sorted(apart, key=lambda each: (each[0], each[1].name))[:most]


@dataclass(frozen=True)
class Predicted:
    """How well a score ordered the sources of tasks, before anything was trained.

    Attributes:
        score: Its name; `STATIC` for an order that does not look at the task.
        taus: By task, the weighted Kendall tau (Vigna 2015) between its order of the sources and the best
            that was reached with each: 1 for the same order, -1 for the opposite; mistakes at the top weigh
            most.
    """

    score: str
    taus: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over tasks."""
        return math.fsum(self.taus) / len(self.taus)


STATIC, FRECHET = "larger first", "distance"
"""The order by the size of the weights, and the one by the distance, the nearest first."""


def predicted(tasks: Iterable[SeenTask], sizes: dict[str, int]) -> list[Predicted]:
    """What scores were worth on the tasks where two sources or more were tried, by mean tau, best first.

    A score of a source is its best over cuts. Sources are compared where all scores, measured on the same
    images, and a size are known; a task whose sources all did equally well says nothing.

    Args:
        tasks: Of a store.
        sizes: Bytes of the weights, by source.
    """
    taus: dict[str, list[float]] = {}
    for seen in tasks:
        sources = _comparable(seen, sizes)
        reached = [seen.by_source[source] for source in sources]
        if len(set(reached)) < 2:
            continue
        orders = {STATIC: [float(sizes[source]) for source in sources]}
        for score, by_source in seen.signature.scores.items():
            if all(by_source.get(source) for source in sources):
                orders[score] = [max(by_source[source].values()) for source in sources]
        apart = [seen.signature.frechet.get(source) for source in sources]
        if None not in apart:
            orders[FRECHET] = [-far for far in apart if far is not None]
        for score, order in orders.items():
            if (tau := weighted_tau(order, reached)) is not None:
                taus.setdefault(score, []).append(tau)
    found = [Predicted(score, tuple(values)) for score, values in taus.items()]
    return sorted(found, key=lambda each: (-each.mean, each.score))


def _comparable(seen: SeenTask, sizes: dict[str, int]) -> list[str]:
    """Sources that were tried and scored, of those on as many images as most."""
    measured = {
        source: images
        for source, images in seen.signature.measured.items()
        if source in seen.by_source and source in sizes
    }
    counts = list(measured.values())
    usual = max(counts, key=lambda images: (counts.count(images), images), default=0)
    return sorted(source for source, images in measured.items() if images == usual)


def weighted_tau(order: Sequence[float], reached: Sequence[float]) -> float | None:
    """Between two lists of numbers, more is better in both; None where one of them is all the same."""
    from scipy.stats import weightedtau

    if len(set(order)) < 2 or len(set(reached)) < 2:
        return 0.0 if len(set(reached)) > 1 else None
    return float(weightedtau(order, reached).statistic)
