"""Accuracy against what it costs: to train, to predict, to store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import plotly.graph_objects as go

from automl_transfer.reporting.comparison import COSTS, front, score_of
from automl_transfer.reporting.effects import family_of
from automl_transfer.reporting.figures.base import (
    FAMILIES,
    GRAY,
    FigureSpec,
    figure,
    percent,
    share_format,
    trial_points,
)
from automl_transfer.reporting.plain import count, seconds
from automl_transfer.reporting.ranking import RankedStrategy
from automl_transfer.reporting.study_report import StudyReport

TITLES = {"training": "Accuracy and training time", "prediction": "Accuracy and prediction time",
          "size": "Accuracy and size"}  # fmt: skip


def _shown(kind: str, value: float) -> str:
    if kind == "training":
        return seconds(value)
    return f"{value:.2g} ms" if kind == "prediction" else f"{count(round(value))} weights"


def _describe(report: StudyReport, kind: str) -> str:
    _, cost = COSTS[kind]
    rows = front(report.ranking.rows, cost)
    if not rows:
        return ""
    named = [
        f"trial {row.root_trial} ({percent(score_of(row), 1)}, {_shown(kind, cost(row) or 0.0)})"
        for row in rows
    ]
    if len(rows) == 1:
        return f"One strategy is both the most accurate and the cheapest: {named[0]}."
    return f"{len(rows)} strategies are on the front, from {named[0]} to {named[-1]}."


def _draw(report: StudyReport, kind: str) -> go.Figure | None:
    title, cost = COSTS[kind]
    rows = [row for row in report.ranking.rows if cost(row) is not None]
    if not rows:
        return None
    fig = draw_front(report, rows, front(rows, cost), lambda row: cost(row) or 0.0, score_of, shape="hv")
    fig.update_xaxes(title_text=title, type="log", minor={"showgrid": False}, nticks=6)
    fig.update_yaxes(title_text=report.metric_name, tickformat=share_format(map(score_of, rows)))
    return fig


def draw_front(
    report: StudyReport,
    rows: Sequence[RankedStrategy],
    best: Sequence[RankedStrategy],
    x: Callable[[RankedStrategy], float],
    y: Callable[[RankedStrategy], float],
    *,
    shape: Literal["hv", "vh"],
) -> go.Figure:
    """Strategies by two numbers, and a dotted line along those that nothing beats in both."""
    fig = figure(height=340)
    fig.add_trace(
        go.Scatter(
            x=[x(row) for row in best],
            y=[round(y(row), 5) for row in best],
            mode="lines",
            name="front",
            line={"shape": shape, "color": GRAY, "width": 1.5, "dash": "dot"},
            hoverinfo="skip",
        )
    )
    for family, (color, symbol) in FAMILIES.items():
        members = [row for row in rows if family_of(row.strategy) == family]
        if members:
            fig.add_trace(
                trial_points(
                    report,
                    [report.by_number[row.root_trial] for row in members],
                    [x(row) for row in members],
                    [y(row) for row in members],
                    name=family,
                    color=color,
                    symbol=symbol,
                    size=9,
                )
            )
    return fig


def _spec(kind: str) -> FigureSpec:
    return FigureSpec(
        name=f"pareto-{kind}",
        section="cost",
        title=TITLES[kind],
        reads="One point a complete strategy (confirmed score where there is one, else validation); "
        "dotted: what "
        "nothing beats in both.",
        describe=lambda report: _describe(report, kind),
        draw=lambda report: _draw(report, kind),
    )


FIGURES = tuple(_spec(kind) for kind in COSTS)
