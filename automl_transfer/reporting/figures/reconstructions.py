"""What a network that learned to reconstruct, before labels were used, makes of some images."""

from __future__ import annotations

import base64

import plotly.graph_objects as go

from automl_transfer.reporting.figures.base import FigureSpec, figure
from automl_transfer.reporting.plain import plain
from automl_transfer.reporting.study_report import StudyReport

TALLEST = 320


def describe(report: StudyReport) -> str:
    """Whose they are."""
    found = report.reconstructions
    return "" if found is None else f"Trial {found.root}: {plain(found.strategy, 240)}."


def draw(report: StudyReport) -> go.Figure | None:
    """The picture that the trial left."""
    found = report.reconstructions
    if found is None:
        return None
    fig = figure(height=min(TALLEST, found.height + 24))
    fig.update_layout(margin={"l": 0, "r": 0, "t": 12, "b": 12})
    # An image alone makes no figure: corners that nobody sees span the axes it lies in.
    fig.add_trace(
        go.Scatter(
            x=[0, found.width],
            y=[found.height, 0],
            mode="markers",
            marker={"opacity": 0},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    fig.add_layout_image(
        source="data:image/png;base64," + base64.b64encode(found.png).decode("ascii"),
        xref="x",
        yref="y",
        x=0,
        y=0,
        sizex=found.width,
        sizey=found.height,
        layer="above",
    )
    fig.update_xaxes(visible=False, range=[0, found.width], constrain="domain")
    fig.update_yaxes(visible=False, range=[found.height, 0], scaleanchor="x", constrain="domain")
    return fig


FIGURE = FigureSpec(
    name="reconstructions",
    section="families",
    title="Through an autoencoder: what the encoder knows of these images",
    reads="Above, images of the task; below, as the network saw them, and as a small decoder gives them back "
    "once the encoder was adapted without labels. What does not come back, the encoder did not keep.",
    describe=describe,
    draw=draw,
)
