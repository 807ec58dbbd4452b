"""How the expected score changes with each of the most important dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from automl_transfer.reporting.figures.base import (
    BLUE,
    GRAY,
    TRIALS,
    FigureSpec,
    figure,
    hover_words,
    share_format,
)
from automl_transfer.reporting.importance import PartialEffect, partial_effects
from automl_transfer.reporting.study_report import StudyReport

MOST_POINTS = 400


def describe(report: StudyReport) -> str:
    """Where each curve is highest, and how much it spans."""
    found = partial_effects(report)
    if not found:
        return ""
    parts = [
        f"{e.name.replace('_', ' ')} best near {_value(e.values[_top(e)])} (a span of "
        f"{100 * (max(e.scores) - min(e.scores)):.1f} "
        "points)"
        for e in found
    ]
    return "; ".join(parts) + "."


def draw(report: StudyReport) -> go.Figure | None:
    """A small chart for each: points are trials, the line is the forest's expectation."""
    found = partial_effects(report)
    if not found:
        return None
    rows = -(-len(found) // 2)
    grid = make_subplots(rows=rows, cols=2, horizontal_spacing=0.12, vertical_spacing=0.3 / rows)
    fig = figure(height=60 + 210 * rows, showlegend=False)
    base = fig.layout.to_plotly_json()
    for at, effect in enumerate(found):
        place = {"row": at // 2 + 1, "col": at % 2 + 1}
        _panel(grid, report, effect, place)
    grid.update_layout(
        **{key: value for key, value in base.items() if not key.startswith(("xaxis", "yaxis"))}
    )
    grid.update_xaxes(**{**base["xaxis"], "title_font": {"size": 12}})
    reached = share_format(score for effect in found for _, _, score in effect.trials)
    grid.update_yaxes(**base["yaxis"], tickformat=reached)
    grid.update_layout(margin={"l": 48, "r": 12, "t": 12, "b": 48})
    return grid


def _panel(fig: go.Figure, report: StudyReport, effect: PartialEffect, place: dict[str, int]) -> None:
    shown = effect.trials[:: max(1, len(effect.trials) // MOST_POINTS)]
    numbers = [number for number, _, _ in shown]
    fig.add_trace(
        go.Scatter(
            x=[str(value) if effect.categorical else value for _, value, _ in shown],
            y=[round(score, 5) for _, _, score in shown],
            mode="markers",
            meta=TRIALS,
            customdata=numbers,
            text=[hover_words(report, report.by_number[number]) for number in numbers],
            hovertemplate="<b>%{y:.2%}</b> at %{x}<br>%{text}<extra></extra>",
            marker={"color": GRAY, "size": 5, "opacity": 0.55},
        ),
        **place,
    )
    fig.add_trace(
        go.Scatter(
            x=[str(value) if effect.categorical else value for value in effect.values],
            y=[round(score, 5) for score in effect.scores],
            mode="lines+markers" if effect.categorical else "lines",
            line={"color": BLUE, "width": 2.5, "dash": "dot" if effect.categorical else "solid"},
            marker={"size": 10, "color": BLUE},
            hovertemplate="expected %{y:.2%} at %{x}<extra></extra>",
        ),
        **place,
    )
    axis: dict[str, object] = {"type": "linear"}
    if effect.categorical:
        axis = {"type": "category", "categoryarray": [str(value) for value in effect.values]}
    elif effect.log:
        axis = {"type": "log", "tickvals": _decades(effect.values), "exponentformat": "power", "tickangle": 0}
    fig.update_xaxes(title_text=effect.name.replace("_", " "), **axis, **place)


def _decades(values: Sequence[float]) -> list[float]:
    """At most five powers of ten within a range."""
    low, high = math.ceil(math.log10(min(values)) - 0.1), math.floor(math.log10(max(values)) + 0.1)
    return [10.0**power for power in range(low, high + 1, max(1, -(-(high - low) // 4)))]


def _top(effect: PartialEffect) -> int:
    return max(range(len(effect.scores)), key=effect.scores.__getitem__)


def _value(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


FIGURE = FigureSpec(
    name="partial-effects",
    section="families",
    title="Effects of the most important dimensions",
    reads="Gray: trials, at the deepest epoch that most of them reached. Blue: the expected score with "
    "the other "
    "dimensions as they were tried (partial dependence of a random forest).",
    describe=describe,
    draw=draw,
)
