"""Accuracy on clean images against accuracy under the study's attack."""

from __future__ import annotations

import plotly.graph_objects as go

from automl_transfer.reporting.comparison import front
from automl_transfer.reporting.figures.base import (
    FigureSpec,
    percent,
    share_format,
)
from automl_transfer.reporting.figures.pareto_fronts import draw_front
from automl_transfer.reporting.ranking import RankedStrategy
from automl_transfer.reporting.study_report import StudyReport


def _clean(row: RankedStrategy) -> float:
    return row.validation.accuracy


def _robust(row: RankedStrategy) -> float:
    return round(row.robust_accuracy or 0.0, 5)


def _fooled(row: RankedStrategy) -> float | None:
    return None if row.robust_accuracy is None else 1.0 - row.robust_accuracy


def _front(report: StudyReport) -> list[RankedStrategy]:
    """The rows that no other equals in both and beats in one, what withstands most first."""
    return front(report.ranking.rows, _fooled, _clean)


def describe(report: StudyReport) -> str:
    """The strategies that nothing beats in both."""
    rows = _front(report)
    if not rows:
        return ""
    named = [
        f"trial {row.root_trial} ({percent(_clean(row), 1)} clean, {percent(row.robust_accuracy or 0.0, 1)} "
        "under attack)"
        for row in rows
    ]
    if len(rows) == 1:
        return f"One strategy is best with and without the attack: {named[0]}."
    return f"{len(rows)} strategies are on the front, from {named[0]} to {named[-1]}."


def draw(report: StudyReport) -> go.Figure | None:
    """Strategies, and the front."""
    rows = [row for row in report.ranking.rows if row.robust_accuracy is not None]
    if not rows:
        return None
    fig = draw_front(report, rows, _front(report), _robust, _clean, shape="vh")
    fig.update_xaxes(
        title_text="accuracy under attack",
        tickformat=share_format([0.0, *map(_robust, rows)]),
        rangemode="tozero",
    )
    fig.update_yaxes(title_text="accuracy", tickformat=share_format(map(_clean, rows)))
    return fig


FIGURE = FigureSpec(
    name="robustness",
    section="cost",
    title="Accuracy and robustness",
    reads="One point a complete strategy, on validation images, clean and under the study's attack; dotted: "
    "what nothing beats in both.",
    describe=describe,
    draw=draw,
)
