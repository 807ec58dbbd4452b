"""Whether the winner is as often right as it says."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from automl_transfer.reporting.errors_of_winner import CalibrationBin
from automl_transfer.reporting.figures.base import BLUE, FigureSpec, diagonal, figure, percent
from automl_transfer.reporting.statistics import clopper_pearson
from automl_transfer.reporting.study_report import StudyReport


def describe(report: StudyReport) -> str:
    """The expected calibration error, and where most images lie."""
    winner = report.winner
    if winner is None or not winner.calibration:
        return ""
    return describe_bins(winner.calibration, winner.expected_calibration_error, f"{winner.split} ")


def describe_bins(bins: Sequence[CalibrationBin], error: float, kind: str = "") -> str:
    """The same of the bins themselves; `kind` says which images they are about."""
    largest = max(bins, key=lambda each: each.images)
    return (
        f"Expected calibration error {percent(error, 1)} over {sum(each.images for each in bins)} "
        f"{kind}images. Most of them ({largest.images}) get a probability of "
        f"{percent(largest.low, 0)} to "
        f"{percent(largest.high, 0)}: of these, {percent(largest.correct / largest.images, 1)} are right."
    )


def draw(report: StudyReport) -> go.Figure | None:
    """Share of right answers against the model's own probability, in tenths."""
    winner = report.winner
    if winner is None or not winner.calibration:
        return None
    return draw_bins(winner.calibration)


def draw_bins(bins: Sequence[CalibrationBin]) -> go.Figure:
    """The reliability diagram, with exact intervals."""
    right = [each.correct / each.images for each in bins]
    bounds = [clopper_pearson(each.correct, each.images) for each in bins]
    fig = figure(height=380)
    fig.add_trace(diagonal("as often right as it says"))
    most = max(each.images for each in bins)
    fig.add_trace(
        go.Scatter(
            x=[round(each.confidence, 4) for each in bins],
            y=[round(value, 4) for value in right],
            mode="markers",
            name="images, 95% interval",
            customdata=[[each.correct, each.images] for each in bins],
            marker={"color": BLUE, "size": [8 + 12 * (each.images / most) ** 0.5 for each in bins]},
            error_y={
                "type": "data",
                "array": [high - value for (_, high), value in zip(bounds, right, strict=True)],
                "arrayminus": [value - low for (low, _), value in zip(bounds, right, strict=True)],
                "color": BLUE,
                "thickness": 1.2,
                "width": 4,
            },
            hovertemplate="says %{x:.0%}, right <b>%{y:.0%}</b><br>%{customdata[0]} of %{customdata[1]} "
            "images"
            "<extra></extra>",
        )
    )
    fig.update_xaxes(title_text="its probability of its answer", tickformat=".0%", range=[0, 1.03])
    fig.update_yaxes(title_text="share that is right", tickformat=".0%", range=[0, 1.05])
    return fig


FIGURE = FigureSpec(
    name="calibration",
    section="errors",
    title="Calibration",
    reads="On the dotted line the model is as often right as it says; below it, it is too sure of itself.",
    describe=describe,
    draw=draw,
)
