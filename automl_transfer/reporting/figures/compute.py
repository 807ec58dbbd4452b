"""Where the seconds went: by the fate of trials, by rung, and what stopping early saved."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import plotly.graph_objects as go

from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.reporting.figures.base import LOOKS, FigureSpec, figure, percent
from automl_transfer.reporting.plain import seconds
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.reporting.summary import fate_of


@dataclass(frozen=True)
class Spending:
    """Seconds of training and validation.

    Attributes:
        by_fate: Fate (`fate_of`) to seconds of all its trials' own epochs (inherited ones count once).
        by_rung: (first epoch, last epoch) to fate to seconds: the epochs between two rungs.
        saved: What the pruned trials would have cost on top, each at its own mean seconds an epoch.
    """

    by_fate: dict[str, float]
    by_rung: dict[tuple[int, int], dict[str, float]]
    saved: float

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.by_fate.values())


def spending(report: StudyReport) -> Spending:
    """Add up what every trial's epochs took."""
    rungs = rungs_of(report)
    by_fate: defaultdict[str, float] = defaultdict(float)
    by_rung: dict[tuple[int, int], defaultdict[str, float]] = {r: defaultdict(float) for r in rungs}
    saved = 0.0
    seen: dict[int, int] = {}  # root: last epoch that an earlier attempt has paid for
    for record in report.records:
        paid, fate = seen.get(record.root, -1) if record.attempt else -1, fate_of(record)
        for epoch in record.epochs:
            if epoch.epoch <= paid:
                continue
            by_fate[fate] += epoch.seconds
            rung = next((r for r in rungs if r[0] <= epoch.epoch <= r[1]), None)
            if rung is not None:
                by_rung[rung][fate] += epoch.seconds
        if record.epochs:
            seen[record.root] = max(paid, record.epochs[-1].epoch)
        saved += _saved(record, report.max_epochs)
    return Spending(dict(by_fate), {rung: dict(counts) for rung, counts in by_rung.items() if counts}, saved)


def rungs_of(report: StudyReport) -> list[tuple[int, int]]:
    """The stretches of epochs between the pruner's rungs; epoch 0 (closed form) stands alone."""
    last = report.max_epochs
    if report.spec is None or report.spec.search.pruner not in ("promote", "asha", "hyperband"):
        edges = [last]
    else:
        edges = [*(rung for rung in report.spec.search.rungs if rung < last), last]
    return [(0, 0), *((low + 1, high) for low, high in zip([0, *edges], edges, strict=False) if high > low)]


def _saved(record: TrialRecord, max_epochs: int) -> float:
    if record.state is not TrialState.PRUNED or record.is_paused or not record.epochs:
        return 0.0
    trained = [epoch.seconds for epoch in record.epochs if epoch.epoch > 0]
    if not trained:
        return 0.0
    # The first epoch also fills caches: later ones say better what an epoch costs.
    usual = trained[1:] or trained
    return max(0, max_epochs - record.epochs[-1].epoch) * sum(usual) / len(usual)


def _rung(low: int, high: int) -> str:
    if high == 0:
        return "epoch 0 (solved)"
    return f"epoch {low}" if low == high else f"epochs {low}-{high}"


def describe(report: StudyReport) -> str:
    """Total, shares, and what pruning saved."""
    spent = spending(report)
    if not spent.total:
        return ""
    shares = ", ".join(
        f"{percent(spent.by_fate[fate] / spent.total, 0)} on {fate} trials"
        for fate in LOOKS
        if spent.by_fate.get(fate)
    )
    text = f"{seconds(spent.total)} of training and validation: {shares}."
    if spent.saved:
        text += (
            f" Run to the end, the pruned trials would have taken about {seconds(spent.saved)} more "
            f"({spent.saved / spent.total:.1f} times the whole), at their own seconds an epoch."
        )
    return text


def draw(report: StudyReport) -> go.Figure | None:
    """One bar a rung, coloured by fate."""
    spent: Spending = spending(report)
    if not spent.total:
        return None
    rungs = list(spent.by_rung)
    fig = figure(height=120 + 44 * len(rungs), barmode="stack")
    for name, (color, _) in LOOKS.items():
        values = [spent.by_rung[rung].get(name, 0.0) for rung in rungs]
        if any(values):
            fig.add_trace(
                go.Bar(
                    y=[_rung(*rung) for rung in rungs],
                    x=[round(value, 3) for value in values],
                    customdata=[seconds(value) for value in values],
                    orientation="h",
                    name=name,
                    marker={"color": color},
                    hovertemplate="%{y}: %{customdata}<extra>" + name + "</extra>",
                )
            )
    fig.update_xaxes(title_text="seconds", rangemode="tozero")
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig


FIGURE = FigureSpec(
    name="compute",
    section="cost",
    title="Where the compute went",
    reads="One bar for the epochs between two rungs of the pruner, divided by what became of the trials.",
    describe=describe,
    draw=draw,
)
