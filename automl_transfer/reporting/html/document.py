"""A whole page around its content and figures: styles, scripts, plotly; a policy lets nothing else run."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.utils import PlotlyJSONEncoder

from automl_transfer.printable import visible_lines
from automl_transfer.reporting.figures.base import TRIALS, FigureSpec, hover_words
from automl_transfer.reporting.figures.registry import FIGURES, all_figures
from automl_transfer.reporting.plain import count, plain, seconds
from automl_transfer.reporting.study_report import StudyReport

HERE = Path(__file__).parent
PLOTLY = "plotly-cartesian-4.1.1.min.js"
"""plotly.js's own bundle of plain charts: a third of the whole that the Python package holds, and without
anything that compiles code at run time. From npm's plotly.js-cartesian-dist-min, unchanged."""

EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""plotly adds an empty style element, which it then fills rule by rule."""


@cache
def environment() -> Environment:
    """Templates in which every value is escaped, as HTML and for whoever prints the page's text."""
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=lambda value: visible_lines(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": lambda value, digits=1: f"{100 * value:.{digits}f}%",
        "points": lambda value, digits=1: f"{100 * value:+.{digits}f}",
        "seconds": seconds,
        "count": count,
        "plain": plain,
        "ms": lambda value: f"{value:.2g} ms",
    }
    return made


def page(template: str, plots: Mapping[str, Any], words: Mapping[int, str], **values: Any) -> str:
    """Render a page.

    Args:
        template: Its file beside this one.
        plots: plotly figures by name, as plain JSON values.
        words: What hovering a trial shows, by its number, as plotly's markup.
        values: What the template shows.
    """
    script, style = (HERE / "page.js").read_text("utf-8"), (HERE / "page.css").read_text("utf-8")
    plotly = _plotly() if plots else ""
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(_hash(text) for text in (plotly, script) if text)}",
            f"style-src-elem {_hash(style)} {EMPTY_STYLE}",
            "style-src-attr 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    data = json.dumps({"figures": dict(plots), "words": dict(words)}, separators=(",", ":"))
    return (
        environment()
        .get_template(template)
        .render(
            policy=policy,
            style=Markup(style),  # noqa: S704  (our own files)
            script=Markup(script),  # noqa: S704
            plotly=Markup(plotly),  # noqa: S704
            data=Markup(data.replace("<", "\\u003c")),  # noqa: S704  (no tag can begin in it)
            **values,
        )
    )


@cache
def _plotly() -> str:
    return (HERE / PLOTLY).read_text("utf-8").replace("</script", "<\\/script")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


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
