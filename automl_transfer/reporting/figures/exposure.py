"""Whether the winner gives away which images it was trained on."""

from __future__ import annotations

import plotly.graph_objects as go

from automl_transfer.reporting.figures.base import BLUE, FigureSpec, diagonal, figure, percent
from automl_transfer.reporting.study_report import StudyReport


def describe(report: StudyReport) -> str:
    """The area under the curve, and what a careful attacker finds."""
    found = report.winner.membership if report.winner is not None else None
    if found is None:
        return ""
    low, high = found.interval
    says = "which tells nothing" if low <= 0.5 <= high else "so that training images can be told from others"
    return (
        f"From its loss alone, a training image is told from another one with AUC {found.auc:.3f} (95%: "
        f"{low:.3f} to {high:.3f}), {says}; at 1% false alarms {percent(found.found, 1)} of {found.members} "
        f"training images are recognised, beside {found.others} validation images."
    )


def draw(report: StudyReport) -> go.Figure | None:
    """The attack's curve."""
    found = report.winner.membership if report.winner is not None else None
    if found is None:
        return None
    fig = figure(height=380)
    fig.add_trace(diagonal("guessing"))
    fig.add_trace(
        go.Scatter(
            x=[false for false, _ in found.curve],
            y=[true for _, true in found.curve],
            mode="lines",
            name=f"threshold on the loss, AUC {found.auc:.3f}",
            line={"color": BLUE, "width": 2},
            hovertemplate="<b>%{y:.1%}</b> found at %{x:.1%} false alarms<extra></extra>",
        )
    )
    fig.update_xaxes(title_text="validation images taken for training images", tickformat=".0%", range=[0, 1])
    fig.update_yaxes(title_text="training images found", tickformat=".0%", range=[0, 1.02])
    return fig


FIGURE = FigureSpec(
    name="exposure",
    section="errors",
    title="Does it give its training images away?",
    reads="On the dotted line the winner's loss says nothing about which images it was trained on.",
    describe=describe,
    draw=draw,
)
