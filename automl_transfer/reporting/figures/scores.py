"""Scores over the cuts of each source, one panel a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.reporting.figures.base import (
    BLUE,
    GREEN,
    GRID,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    figure,
)
from automl_transfer.reporting.plain import labels, plain

COLORS = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY)
DASHES = ("solid", "dash", "dot")
COLUMNS, PANEL = 3, 300
TITLE = "Scores of the sources at every cut"
READS = (
    "One panel a score, one line a source: how well the source's outputs suit the task after each share of "
    "its groups, with nothing trained. More is better in all; their units differ. A ring marks a line's best "
    "cut."
)


def draw_scores(profiles: Sequence[ProfileRecord]) -> go.Figure | None:
    """None where no cut has a score."""
    names = list(dict.fromkeys(name for profile in profiles for cut in profile.cuts for name in cut.scores))
    if not names:
        return None
    columns, sources = min(COLUMNS, len(names)), labels([profile.source for profile in profiles], 40)
    rows = -(-len(names) // columns)
    fig = make_subplots(
        rows,
        columns,
        subplot_titles=[plain(name, 30) for name in names],
        horizontal_spacing=0.09,
        vertical_spacing=0.22 / rows,
        figure=figure(height=PANEL * rows + 90),
    )
    for place, name in enumerate(names):
        row, column = place // columns + 1, place % columns + 1
        for at, profile in enumerate(profiles):
            _draw_line(fig, profile, sources[at], name, at, row, column, legend=place == 0)
    small: dict[str, Any] = {"gridcolor": GRID, "zeroline": False, "tickfont": {"size": 12}}
    fig.update_yaxes(**small, automargin="width")
    fig.update_xaxes(**small, range=[0, 1.05], tickformat=".0%")
    below = {"text": "groups of the source that are kept", "font": {"size": 12}, "standoff": 8}
    for column in range(1, columns + 1):
        last = rows - (1 if (rows - 1) * columns + column > len(names) else 0)
        fig.update_xaxes(title=below, row=last, col=column)
    fig.update_layout(legend={"y": 1.0 + 50 / (PANEL * rows)}, margin={"t": 90})
    return fig


def _draw_line(
    fig: go.Figure,
    profile: ProfileRecord,
    source: str,
    name: str,
    at: int,
    row: int,
    column: int,
    *,
    legend: bool,
) -> None:
    cuts = sorted((cut for cut in profile.cuts if name in cut.scores), key=lambda cut: cut.cut)
    if not cuts:
        return
    groups = max(cut.cut for cut in profile.cuts)
    x = [cut.cut / groups for cut in cuts]
    y = [cut.scores[name] for cut in cuts]
    color, dash = COLORS[at % len(COLORS)], DASHES[at // len(COLORS) % len(DASHES)]
    fig.add_trace(
        go.Scatter(
            x=x,
            y=[round(value, 5) for value in y],
            mode="lines+markers",
            name=source,
            legendgroup=str(at),
            showlegend=legend,
            line={"color": color, "width": 2, "dash": dash},
            marker={"size": 5},
            customdata=[cut.cut for cut in cuts],
            hovertemplate=f"<b>%{{y:.4g}}</b> after group %{{customdata}} of {groups}",
        ),
        row=row,
        col=column,
    )
    best = y.index(max(y))
    fig.add_trace(
        go.Scatter(
            x=[x[best]],
            y=[y[best]],
            mode="markers",
            legendgroup=str(at),
            showlegend=False,
            hoverinfo="skip",
            marker={"size": 12, "symbol": "circle-open", "color": color, "line": {"width": 2}},
        ),
        row=row,
        col=column,
    )
