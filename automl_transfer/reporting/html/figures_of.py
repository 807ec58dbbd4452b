"""Figures as plain JSON for a page, thinned so that thousands of trials stay a small file."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.utils import PlotlyJSONEncoder

from automl_transfer.reporting.figures.base import TRIALS, FigureSpec, hover_words
from automl_transfer.reporting.figures.registry import FIGURES, all_figures
from automl_transfer.reporting.study_report import StudyReport

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShownFigure:
    """A figure with its words; `value` is plotly's JSON.

    Attributes:
        reads: How to read it.
        text: What it shows here: also the alternative for those who do not see it.
        section: Of the page.
    """

    name: str
    title: str
    reads: str
    text: str
    value: dict[str, Any]
    section: str = ""

    @property
    def height(self) -> int:
        """Pixels, known before anything is drawn."""
        return int(self.value["layout"].get("height", 380))


def figures_of(report: StudyReport) -> dict[str, ShownFigure]:
    """Every figure that has something to show, in the order of the registry."""
    found = {}
    for name, spec in all_figures().items():
        if (figure := _drawn(name, spec, report)) is not None:
            found[name] = figure
    return found


def _drawn(name: str, spec: FigureSpec, report: StudyReport) -> ShownFigure | None:
    try:
        drawn, text = spec.draw(report), spec.describe(report)
    except Exception as error:
        if name in FIGURES:
            raise
        # Another package's figure: the report is worth more than it.
        logger.warning(
            "the figure %r of another package is left out: %s: %s", name, type(error).__name__, error
        )
        return None
    if drawn is None:
        return None
    return dataclasses.replace(shown(name, spec.title, spec.reads, text, drawn), section=spec.section)


def shown(name: str, title: str, reads: str, text: str, drawn: go.Figure) -> ShownFigure:
    """A drawn figure, ready for a page."""
    value = json.loads(json.dumps(drawn.to_dict(), cls=PlotlyJSONEncoder))
    return ShownFigure(name, title, reads, text, _thin(value))


def words_of(report: StudyReport, figures: dict[str, ShownFigure]) -> dict[int, str]:
    """The words of every trial that a figure shows: kept once, whatever the number of figures."""
    numbers = {
        number
        for each in figures.values()
        for trace in each.value["data"]
        if trace.get("meta") == TRIALS
        for number in trace["customdata"]
    }
    return {number: hover_words(report, report.by_number[number]) for number in sorted(numbers)}


def _thin(value: dict[str, Any]) -> dict[str, Any]:
    value["layout"].pop("template", None)
    for trace in value["data"]:
        if trace.get("meta") == TRIALS:
            trace.pop("text", None)  # the page puts it back from `words`
    return value
