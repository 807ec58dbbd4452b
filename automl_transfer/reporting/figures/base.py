"""What a figure is, and the look that all of them share."""

from __future__ import annotations

import functools
import html
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.reporting.plain import plain
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.reporting.summary import FATES, PAUSED, fate_of

# Okabe and Ito's palette: told apart with any kind of colour vision, on white and on black.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, GRAY = "#56B4E9", "#CC79A7", "#F0E442", "#8A8F98"

LOOKS: dict[str, tuple[str, str]] = {
    FATES[TrialState.COMPLETE]: (BLUE, "circle"),
    PAUSED: (SKY, "triangle-up-open"),
    FATES[TrialState.PRUNED]: (GRAY, "x-thin-open"),
    FATES[TrialState.FAIL]: (VERMILLION, "diamond"),
    FATES[TrialState.RUNNING]: (ORANGE, "circle-open"),
    FATES[TrialState.WAITING]: (YELLOW, "circle-open"),
}
"""Colour and symbol of what became of trials (`summary.fate_of`), in the order of legends."""

FAMILIES: dict[str, tuple[str, str]] = {
    "closed form": (GREEN, "star"),
    "head only": (SKY, "square"),
    "part frozen": (ORANGE, "triangle-up"),
    "all trained": (BLUE, "circle"),
    "norm or bias": (PURPLE, "diamond"),
    "from scratch": (VERMILLION, "x"),
}

TRIALS = "trials"
"""`meta` of a trace whose `customdata` are trial numbers and whose `text` is their strategy in words."""


SECTIONS = ("answer", "ranking", "confidence", "families", "cost", "errors", "failures")


@dataclass(frozen=True)
class FigureSpec:
    """One figure of a report.

    Attributes:
        name: Identifier: letters, digits, hyphens.
        section: Where the page shows it: one of `SECTIONS`; "answer" is its top.
        title: For people.
        reads: How to read it, one sentence, the same for every study.
        describe: What it shows here, from the data: the text alternative. Empty where nothing is shown.
        draw: The figure, or None where the study has nothing to show.
    """

    name: str
    section: str
    title: str
    reads: str
    describe: Callable[[StudyReport], str]
    draw: Callable[[StudyReport], go.Figure | None]

    def __post_init__(self) -> None:
        if self.section not in SECTIONS:
            raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {self.section!r}")


LONGEST = 48
"""Characters of a family's label beside an axis."""
GRID = "rgba(128,128,128,.22)"
"""The colour of grid lines, on light and on dark paper."""


def diagonal(name: str) -> go.Scatter:
    """A dotted line from (0, 0) to (1, 1)."""
    line = {"color": GRAY, "dash": "dot", "width": 1.5}
    return go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name=name, line=line, hoverinfo="skip")


def figure(height: int = 380, **layout: Any) -> go.Figure:
    """An empty figure in the house's look, which works on light and on dark paper."""
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "title_standoff": 8,
        "title_font": {"size": 12},
        "tickfont": {"size": 12},
    }
    made = go.Figure()
    made.update_layout(
        template="none",
        height=height,
        margin={"l": 56, "r": 24, "t": 12, "b": 48},
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#5b6470"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"align": "left", "font": {"family": "system-ui, sans-serif", "size": 12}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        **layout,
    )
    # Labels push the margin only across their axis: were its last label, at the far end, to push as well, the
    # axis would get shorter, might lose that label, get longer and win it again, without an end.
    made.update_xaxes(**axis, automargin="height")
    made.update_yaxes(**axis, automargin="width")
    return made


def hover_words(report: StudyReport, record: TrialRecord) -> str:
    """A trial for a hover label: its number, fate and strategy, with nothing in it that is markup."""
    return _words(report, record.number)


@functools.lru_cache(maxsize=20_000)
def _words(report: StudyReport, number: int) -> str:
    """Kept, because every figure that shows a trial asks for it."""
    record = report.by_number[number]
    words = plain(report.words(record), 240)
    lines = textwrap.wrap(words, 56) or [""]
    return f"trial {record.number}, {fate_of(record)}<br>" + "<br>".join(html.escape(line) for line in lines)


def trial_points(
    report: StudyReport,
    records: Sequence[TrialRecord],
    x: Sequence[float],
    y: Sequence[float],
    *,
    name: str,
    color: str,
    symbol: str = "circle",
    shows: str = "%{y:.2%}",
    size: int = 8,
    **changes: Any,
) -> go.Scatter:
    """Trials as points; hovering one shows its strategy in words."""
    thin = symbol.endswith("-thin-open")
    return go.Scatter(
        x=[round(value, 5) for value in x],
        y=[round(value, 5) for value in y],
        mode="markers",
        name=name,
        meta=TRIALS,
        customdata=[record.number for record in records],
        text=[hover_words(report, record) for record in records],
        hovertemplate=f"<b>{shows}</b><br>%{{text}}<extra></extra>",
        marker={
            "color": color,
            "symbol": symbol,
            "size": size,
            "opacity": 0.85,
            "line": {"width": 1.5 if thin else 0.5, "color": color if thin else "rgba(255,255,255,.7)"},
        },
        **changes,
    )


def percent(value: float, digits: int = 2) -> str:
    """A share in percent.

    >>> percent(0.98765)
    '98.77%'
    """
    return f"{100 * value:.{digits}f}%"


def share_format(values: Iterable[float]) -> str:
    """Format of an axis of shares: as many digits as its ticks need to differ.

    >>> share_format([0.2, 0.9]), share_format([0.95, 0.99]), share_format([0.991, 0.994])
    ('.0%', '.1%', '.2%')
    """
    known = list(values)
    span = max(known, default=1.0) - min(known, default=0.0)
    return ".0%" if span > 0.08 else ".1%" if span > 0.008 else ".2%"


def time_axis(seconds: float) -> tuple[float, str]:
    """What to divide seconds by for an axis up to `seconds`, and the unit's name."""
    if seconds < 180:
        return 1.0, "seconds"
    if seconds < 3 * 3600:
        return 60.0, "minutes"
    return 3600.0, "hours"
