"""Where the seconds of a study went: by the fate of its trials, by rung, and what stopping early saved."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.reporting.study_report import StudyReport


@dataclass(frozen=True)
class Spending:
    """Seconds of training and validation.

    Attributes:
        by_fate: State to seconds of all its trials' own epochs (inherited ones count once).
        by_rung: (first epoch, last epoch) to state to seconds: the epochs between two rungs.
        saved: What the pruned trials would have cost on top, each at its own mean seconds an epoch.
    """

    by_fate: dict[TrialState, float]
    by_rung: dict[tuple[int, int], dict[TrialState, float]]
    saved: float

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.by_fate.values())


def spending(report: StudyReport) -> Spending:
    """Add up what every trial's epochs took."""
    rungs = rungs_of(report)
    by_fate: defaultdict[TrialState, float] = defaultdict(float)
    by_rung: dict[tuple[int, int], defaultdict[TrialState, float]] = {r: defaultdict(float) for r in rungs}
    saved = 0.0
    seen: dict[int, int] = {}  # root: last epoch that an earlier attempt has paid for
    for record in report.records:
        paid = seen.get(record.root, -1) if record.attempt else -1
        for epoch in record.epochs:
            if epoch.epoch <= paid:
                continue
            by_fate[record.state] += epoch.seconds
            rung = next((r for r in rungs if r[0] <= epoch.epoch <= r[1]), None)
            if rung is not None:
                by_rung[rung][record.state] += epoch.seconds
        if record.epochs:
            seen[record.root] = max(paid, record.epochs[-1].epoch)
        saved += _saved(record, report.max_epochs)
    return Spending(dict(by_fate), {rung: dict(counts) for rung, counts in by_rung.items() if counts}, saved)


def rungs_of(report: StudyReport) -> list[tuple[int, int]]:
    """The stretches of epochs between the pruner's rungs; epoch 0 (closed form) stands alone."""
    last = report.max_epochs
    if report.spec is None or report.spec.search.pruner not in ("asha", "hyperband"):
        edges = [last]
    else:
        search = report.spec.search
        edges, edge = [], search.first_rung
        while edge < last:
            edges.append(edge)
            edge *= search.reduction_factor
        edges.append(last)
    return [(0, 0), *((low + 1, high) for low, high in zip([0, *edges], edges, strict=False) if high > low)]


def _saved(record: TrialRecord, max_epochs: int) -> float:
    if record.state is not TrialState.PRUNED or not record.epochs:
        return 0.0
    trained = [epoch.seconds for epoch in record.epochs if epoch.epoch > 0]
    if not trained:
        return 0.0
    # The first epoch also fills caches: later ones say better what an epoch costs.
    usual = trained[1:] or trained
    return max(0, max_epochs - record.epochs[-1].epoch) * sum(usual) / len(usual)
