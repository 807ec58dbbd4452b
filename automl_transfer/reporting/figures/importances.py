"""How much each searched dimension mattered."""

from __future__ import annotations

import plotly.graph_objects as go

from automl_transfer.reporting.effects import outcomes
from automl_transfer.reporting.figures.base import BLUE, FigureSpec, figure, percent
from automl_transfer.reporting.importance import importance
from automl_transfer.reporting.study_report import StudyReport

MOST = 15


def describe(report: StudyReport) -> str:
    """The three most important dimensions, and on how many trials that rests."""
    shares = importance(report)
    if not shares:
        return ""
    at = outcomes(report)
    top = ", ".join(
        f"{name.replace('_', ' ')} {percent(share, 0)}" for name, share in list(shares.items())[:3]
    )
    few = " Few trials: read it as a hint." if len(at.trials) < 50 else ""
    based = f"{len(at.trials)} trials, after epoch {at.epoch}"
    return f"Most of what separates the best trials: {top} ({based}).{few}"


def draw(report: StudyReport) -> go.Figure | None:
    """One bar a dimension."""
    shares = dict(list(importance(report).items())[:MOST])
    if not shares:
        return None
    fig = figure(height=110 + 26 * len(shares), showlegend=False)
    fig.add_trace(
        go.Bar(
            y=[name.replace("_", " ") for name in shares],
            x=[round(share, 5) for share in shares.values()],
            orientation="h",
            marker={"color": BLUE},
            hovertemplate="%{y}: %{x:.0%}<extra></extra>",
        )
    )
    fig.update_xaxes(title_text="importance", tickformat=".0%", rangemode="tozero")
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig


FIGURE = FigureSpec(
    name="importance",
    section="families",
    title="Importance of the dimensions",
    reads="PED-ANOVA: how differently the best tenth of the trials (at least five) is spread over a "
    "dimension's "
    "values than all trials are; the shares add up to 100%.",
    describe=describe,
    draw=draw,
)
