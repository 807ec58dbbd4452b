"""Families of strategies: what goes with better scores, choice by choice."""

from __future__ import annotations

import html

import plotly.graph_objects as go

from automl_transfer.reporting.effects import effects, outcomes
from automl_transfer.reporting.figures.base import BLUE, GRAY, GREEN, LONGEST, VERMILLION, FigureSpec, figure
from automl_transfer.reporting.plain import labels, plain
from automl_transfer.reporting.study_report import StudyReport


def describe(report: StudyReport) -> str:
    """The differences whose interval leaves zero out, or that there are none."""
    found = effects(report)
    if not found:
        return ""
    at = outcomes(report)
    told = sorted(
        (e for e in found if e.interval[0] > 0 or e.interval[1] < 0), key=lambda e: -abs(e.difference)
    )
    head = f"Over {len(at.trials)} trials, after epoch {at.epoch}: "
    if not told:
        return head + "no family differs from the others by more than chance explains."
    parts = [
        f"{plain(e.choice)} {plain(e.level)}: {100 * e.difference:+.1f} points "
        f"({100 * e.interval[0]:+.1f} to {100 * e.interval[1]:+.1f})"
        for e in told[:4]
    ]
    return head + "; ".join(parts) + "."


def draw(report: StudyReport) -> go.Figure | None:
    """Difference from all other trials, with a 95% interval, grouped by choice."""
    found = effects(report)
    if not found:
        return None
    names = [html.escape(label) for label in labels([f"{e.choice}: {e.level}" for e in found], LONGEST)]
    fig = figure(height=110 + 30 * len(found), showlegend=False)
    fig.add_vline(x=0, line={"color": GRAY, "width": 1})
    colors = [GREEN if e.interval[0] > 0 else VERMILLION if e.interval[1] < 0 else BLUE for e in found]
    for e, label, color in zip(found, names, colors, strict=True):
        low, high = e.interval
        fig.add_trace(
            go.Scatter(
                x=[round(100 * low, 3), round(100 * high, 3)],
                y=[label, label],
                mode="lines",
                line={"color": color, "width": 2},
                hoverinfo="skip",
            )
        )
    fig.add_trace(
        go.Scatter(
            x=[round(100 * e.difference, 3) for e in found],
            y=names,
            mode="markers",
            marker={"color": colors, "size": 10},
            customdata=[
                [e.trials, f"{100 * e.interval[0]:+.1f} to {100 * e.interval[1]:+.1f}"] for e in found
            ],
            hovertemplate="%{y}<br><b>%{x:+.1f} points</b> (95%: %{customdata[1]})<br>"
            "%{customdata[0]} trials<extra></extra>",
        )
    )
    fig.update_xaxes(title_text=f"points of {report.metric_name}", tickangle=0)
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig


FIGURE = FigureSpec(
    name="families",
    section="families",
    title="Families of strategies",
    reads="The mean score of the trials of a family minus that of all others, at the deepest epoch that most "
    "trials reached, with Welch's 95% interval for each comparison alone.",
    describe=describe,
    draw=draw,
)
