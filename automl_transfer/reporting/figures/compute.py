"""Where the compute went: by rung and by the fate of the trial."""

from __future__ import annotations

import plotly.graph_objects as go

from automl_transfer.domain.records import TrialState
from automl_transfer.reporting.figures.base import FATES, FigureSpec, figure, percent
from automl_transfer.reporting.plain import seconds
from automl_transfer.reporting.spending import Spending, spending
from automl_transfer.reporting.study_report import StudyReport


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
        f"{percent(spent.by_fate[state] / spent.total, 0)} on {FATES[state][0]} trials"
        for state in TrialState
        if spent.by_fate.get(state)
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
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING):
        values = [spent.by_rung[rung].get(state, 0.0) for rung in rungs]
        if any(values):
            name, color, _ = FATES[state]
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
