"""What the winner takes for what."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from automl_transfer.reporting.figures.base import VERMILLION, FigureSpec, figure
from automl_transfer.reporting.plain import labels
from automl_transfer.reporting.study_report import StudyReport

MOST_CLASSES = 25
MOST_PAIRS = 15

Cell = tuple[int, int, int]
"""Truth and answer, positions of classes, and how many images; those that are not zero."""


def pairs_of(classes: Sequence[str], cells: Iterable[Cell]) -> list[tuple[int, str, str]]:
    """(images, truth, answer) of mistakes, the most frequent first."""
    names = labels(classes, 40)
    found = [(n, names[t], names[a]) for t, a, n in cells if t != a]
    return sorted(found, key=lambda pair: (-pair[0], pair[1:]))


def describe(report: StudyReport) -> str:
    """How many are wrong, and the commonest mistakes."""
    winner = report.winner
    if winner is None:
        return ""
    return describe_cells(winner.classes, winner.confusion, winner.images, f"{winner.split} ")


def describe_cells(classes: Sequence[str], cells: Iterable[Cell], images: int, kind: str = "") -> str:
    """The same of the cells themselves; `kind` says which images they are about."""
    pairs = pairs_of(classes, cells)
    if not pairs:
        return f"None of {images} {kind}images is wrong."
    wrong = sum(number for number, _, _ in pairs)
    often = ", ".join(f"{truth} for {answer} ({number})" for number, truth, answer in pairs[:3])
    return f"{wrong} of {images} {kind}images are wrong; most often it takes {often}."


def draw(report: StudyReport) -> go.Figure | None:
    """The matrix for a few classes, the commonest mistakes for many."""
    return None if report.winner is None else draw_cells(report.winner.classes, report.winner.confusion)


def draw_cells(classes: Sequence[str], cells: Sequence[Cell]) -> go.Figure | None:
    """The same of the cells themselves."""
    if len(classes) > MOST_CLASSES:
        return _bars(pairs_of(classes, cells)[:MOST_PAIRS])
    names = [html.escape(name) for name in labels(classes, 18)]
    small = len(names) <= 15
    ticks = list(range(len(names)))
    counts = [[0 for _ in ticks] for _ in ticks]
    for truth, answer, number in cells:
        counts[truth][answer] = number
    # Only mistakes are coloured: the diagonal would drown them.
    wrong = [[0 if t == a else n for a, n in enumerate(row)] for t, row in enumerate(counts)]
    fig = figure(height=max(340, 120 + 24 * len(names)))
    fig.add_trace(
        go.Heatmap(
            x=ticks,
            y=ticks,
            z=wrong,
            text=[[str(n) if n else "" for n in row] for row in counts],
            customdata=[[[names[t], names[a]] for a in ticks] for t in ticks],
            texttemplate="%{text}" if small else None,
            textfont={"size": 11},
            colorscale=[[0, "rgba(128,128,128,.08)"], [1, VERMILLION]],
            zmin=0,
            zmax=max(1, *(max(row) for row in wrong)),
            showscale=False,
            xgap=1,
            ygap=1,
            hovertemplate="%{customdata[0]}, taken for %{customdata[1]}: <b>%{text}</b><extra></extra>",
        )
    )
    fig.update_xaxes(title_text="answer", tickvals=ticks, ticktext=names, showgrid=False)
    fig.update_yaxes(title_text="truth", tickvals=ticks, ticktext=names, showgrid=False, autorange="reversed")
    return fig


def _bars(pairs: Sequence[tuple[int, str, str]]) -> go.Figure | None:
    if not pairs:
        return None
    fig = figure(height=110 + 26 * len(pairs), showlegend=False)
    fig.add_trace(
        go.Bar(
            y=[html.escape(f"{truth}, taken for {answer}") for _, truth, answer in pairs],
            x=[number for number, _, _ in pairs],
            orientation="h",
            marker={"color": VERMILLION},
            hovertemplate="%{y}: %{x}<extra></extra>",
        )
    )
    fig.update_xaxes(title_text="images", rangemode="tozero")
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig


FIGURE = FigureSpec(
    name="confusion",
    section="errors",
    title="What it takes for what",
    reads="Rows are the truth, columns the answer of the model; only mistakes are coloured.",
    describe=describe,
    draw=draw,
)
