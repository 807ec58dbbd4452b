"""What the winner takes for what."""

from __future__ import annotations

import html

import plotly.graph_objects as go

from automl_transfer.reporting.errors_of_winner import WinnerErrors
from automl_transfer.reporting.figures.base import VERMILLION, FigureSpec, figure
from automl_transfer.reporting.plain import plain
from automl_transfer.reporting.study_report import StudyReport

MOST_CLASSES = 25
MOST_PAIRS = 15


def _pairs(winner: WinnerErrors) -> list[tuple[int, str, str]]:
    """(images, truth, answer), the most frequent first."""
    found = [
        (number, plain(winner.classes[t], 40), plain(winner.classes[a], 40))
        for t, a, number in winner.confusion
        if t != a and number
    ]
    return sorted(found, key=lambda pair: (-pair[0], pair[1:]))


def describe(report: StudyReport) -> str:
    """How many are wrong, and the commonest mistakes."""
    winner = report.winner
    if winner is None:
        return ""
    if not winner.wrong:
        return f"None of {winner.images} {winner.split} images is wrong."
    pairs = ", ".join(f"{truth} for {answer} ({number})" for number, truth, answer in _pairs(winner)[:3])
    return f"{winner.wrong} of {winner.images} {winner.split} images are wrong; most often it takes {pairs}."


def draw(report: StudyReport) -> go.Figure | None:
    """The matrix for a few classes, the commonest mistakes for many."""
    winner = report.winner
    if winner is None:
        return None
    if len(winner.classes) > MOST_CLASSES:
        return _bars(winner)
    names = [html.escape(plain(name, 18)) for name in winner.classes]
    # Only mistakes are coloured: the diagonal would drown them.
    table = winner.table
    wrong = [[0 if t == a else n for a, n in enumerate(row)] for t, row in enumerate(table)]
    small = len(names) <= 15
    fig = figure(height=max(340, 120 + 24 * len(names)))
    ticks = list(range(len(names)))
    fig.add_trace(
        go.Heatmap(
            x=ticks,
            y=ticks,
            z=wrong,
            text=[[str(n) if n else "" for n in row] for row in table],
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


def _bars(winner: WinnerErrors) -> go.Figure | None:
    pairs = _pairs(winner)[:MOST_PAIRS]
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
    title="What it takes for what",
    reads="Rows are the truth, columns the answer of the shipped model; only mistakes are coloured.",
    describe=describe,
    draw=draw,
)
