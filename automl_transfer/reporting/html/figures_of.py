"""Figures as plain JSON for a page, thinned so that thousands of trials stay a small file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.utils import PlotlyJSONEncoder

from automl_transfer.reporting.figures.base import TRIALS, hover_words
from automl_transfer.reporting.figures.registry import FIGURES
from automl_transfer.reporting.study_report import StudyReport


@dataclass(frozen=True)
class ShownFigure:
    """A figure with its words; `value` is plotly's JSON.

    Attributes:
        reads: How to read it.
        text: What it shows here: also the alternative for those who do not see it.
    """

    name: str
    title: str
    reads: str
    text: str
    value: dict[str, Any]

    @property
    def height(self) -> int:
        """Pixels, known before anything is drawn."""
        return int(self.value["layout"].get("height", 380))


def figures_of(report: StudyReport) -> dict[str, ShownFigure]:
    """Every figure that has something to show, in the order of the registry."""
    found = {}
    for name, spec in FIGURES.items():
        drawn = spec.draw(report)
        if drawn is not None:
            found[name] = shown(name, spec.title, spec.reads, spec.describe(report), drawn)
    return found


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
