"""Learning curves: how the score grew with the epochs."""

from __future__ import annotations

import plotly.graph_objects as go

from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.reporting.figures.base import (
    BLUE,
    GRAY,
    GREEN,
    TRIALS,
    FigureSpec,
    figure,
    hover_words,
    percent,
    share_format,
)
from automl_transfer.reporting.study_report import StudyReport

MOST = 120
"""More curves than this cannot be told apart: the best complete ones and the latest others are drawn."""


def _chosen(report: StudyReport) -> list[TrialRecord]:
    curves = [r for r in report.records if len(r.epochs) > 1 or (r.epochs and r.epochs[-1].epoch > 0)]
    if len(curves) <= MOST:
        return curves
    complete = sorted(
        (r for r in curves if r.state is TrialState.COMPLETE), key=lambda r: -(report.score(r) or 0.0)
    )[: MOST // 2]
    others = [r for r in curves if r.state is not TrialState.COMPLETE][-(MOST - len(complete)) :]
    return others + complete[::-1]


def describe(report: StudyReport) -> str:
    """How many curves, and how far they went."""
    curves = _chosen(report)
    if not curves:
        return ""
    whole = sum(r.epochs[-1].epoch >= report.max_epochs for r in curves)
    best = max(curves, key=lambda r: report.score(r) or 0.0)
    return (
        f"{len(curves)} curves, {whole} of them to the last epoch ({report.max_epochs}). "
        f"The highest is trial {best.number} with {percent(report.score(best) or 0.0)}."
    )


def draw(report: StudyReport) -> go.Figure | None:
    """One line a trial; the winner's is green."""
    curves = _chosen(report)
    if not curves:
        return None
    winner = report.ranking.best.root_trial if report.ranking.best else None
    fig = figure(showlegend=False)
    for record in sorted(curves, key=lambda r: (r.root == winner, r.state is TrialState.COMPLETE)):
        color, width = (GRAY, 1) if record.state is not TrialState.COMPLETE else (BLUE, 1.4)
        if record.root == winner:
            color, width = GREEN, 3
        fig.add_trace(
            go.Scatter(
                x=[epoch.epoch for epoch in record.epochs],
                y=[round(epoch.score(report.metric), 5) for epoch in record.epochs],
                mode="lines" if len(record.epochs) > 1 else "markers",
                line={"color": color, "width": width},
                marker={"color": color, "size": 5},
                opacity=1.0 if record.root == winner else 0.6,
                meta=TRIALS,
                customdata=[record.number] * len(record.epochs),
                text=[hover_words(report, record)] * len(record.epochs),
                hovertemplate="<b>%{y:.2%}</b> after epoch %{x}<br>%{text}<extra></extra>",
            )
        )
    fig.update_xaxes(title_text="epoch", dtick=1 if report.max_epochs <= 12 else None)
    reached = share_format(epoch.score(report.metric) for record in curves for epoch in record.epochs)
    fig.update_yaxes(title_text=f"validation {report.metric_name}", tickformat=reached)
    return fig


FIGURE = FigureSpec(
    name="curves",
    section="cost",
    title="Learning curves",
    reads="One line a trial: green the winner, blue complete ones, gray those that were stopped.",
    describe=describe,
    draw=draw,
)
