"""What the best strategies reached when they were trained again."""

from __future__ import annotations

import html
import textwrap

import plotly.graph_objects as go

from automl_transfer.reporting.candidates import by_validation
from automl_transfer.reporting.figures.base import BLUE, GRAY, GREEN, ORANGE, FigureSpec, figure, share_format
from automl_transfer.reporting.plain import plain, seconds
from automl_transfer.reporting.ranking import RankedStrategy
from automl_transfer.reporting.story import times
from automl_transfer.reporting.study_report import StudyReport


def _rows(report: StudyReport) -> list[RankedStrategy]:
    return [row for row in report.ranking.rows if row.confirmation is not None]


def describe(report: StudyReport) -> str:
    """How far scores fell, and whether the winner changed."""
    rows = _rows(report)
    if not rows:
        return ""
    pairs = [(row.validation.score, row.confirmation.score) for row in rows if row.confirmation]
    fell = sum(before - after for before, after in pairs) / len(pairs)
    runs = sum(row.confirmation.runs for row in rows if row.confirmation)
    spent = sum(row.confirmation.seconds for row in rows if row.confirmation)
    by_root = {row.root_trial: row for row in rows}
    first = by_validation(report.records, report.metric)[0]
    text = (
        f"{runs} fresh trainings of {len(rows)} strateg{'ies' if len(rows) > 1 else 'y'} took "
        f"{seconds(spent)}. On average the confirmed score is {abs(100 * fell):.2f} points "
        f"{'below' if fell >= 0 else 'above'} the validation score. "
    )
    if first.root not in by_root:
        return text + f"The strategy with the best validation score, trial {first.root}, was not confirmed."
    if first.root == rows[0].root_trial:
        return text + "The strategy with the best validation score is still the best."
    return text + (
        f"The best validation score was trial {first.root}'s; confirmed, trial "
        f"{rows[0].root_trial} is better."
    )


def draw(report: StudyReport) -> go.Figure | None:
    """One line a strategy: its runs, their mean with its interval, and the score it was picked for."""
    rows = _rows(report)
    if not rows:
        return None
    labels = [f"#{row.rank}, trial {row.root_trial}" for row in rows]
    words = ["<br>".join(html.escape(t) for t in textwrap.wrap(plain(row.description), 56)) for row in rows]
    fig = figure(height=130 + 58 * len(rows))
    by_root = {row.root_trial: label for row, label in zip(rows, labels, strict=True)}
    runs = [run for run in report.runs if run.kind == "confirm" and run.root in by_root]
    fig.add_trace(
        go.Scatter(
            x=[round(run.score(report.metric), 5) for run in runs],
            y=[by_root[run.root] for run in runs],
            mode="markers",
            name="one training",
            marker={"color": GRAY, "size": 7, "opacity": 0.7},
            customdata=[run.run + 1 for run in runs],
            hovertemplate="run %{customdata}: %{x:.2%}<extra></extra>",
        )
    )
    means, low, high = [], [], []
    for row in rows:
        assert row.confirmation is not None
        means.append(row.confirmation.score)
        low.append(row.confirmation.accuracy - row.confirmation.interval[0])
        high.append(row.confirmation.interval[1] - row.confirmation.accuracy)
    fig.add_trace(
        go.Scatter(
            x=means,
            y=labels,
            mode="markers",
            name="confirmed, 95%" if report.metric == "accuracy" else "confirmed",
            text=words,
            marker={"color": GREEN, "size": 12},
            error_x={
                "type": "data",
                "array": high,
                "arrayminus": low,
                "color": GREEN,
                "thickness": 2,
                "width": 6,
            }
            if report.metric == "accuracy"  # of another metric no interval is known
            else None,
            hovertemplate="<b>%{x:.2%}</b> confirmed<br>%{text}<extra></extra>",
        )
    )
    fig.add_trace(
        go.Scatter(
            x=[row.validation.score for row in rows],
            y=labels,
            mode="markers",
            name="validation score it was picked for",
            text=words,
            marker={"color": ORANGE, "size": 11, "symbol": "diamond-open", "line": {"width": 2}},
            hovertemplate="<b>%{x:.2%}</b> validation<br>%{text}<extra></extra>",
        )
    )
    winner = report.winner
    judged = winner is not None and winner.root_trial in by_root and report.metric == "accuracy"
    if judged and winner is not None and winner.test_accuracy is not None:
        fig.add_trace(
            go.Scatter(
                x=[winner.test_accuracy],
                y=[by_root[winner.root_trial]],
                mode="markers",
                name=f"test split, {times(len(report.ranking.test_looks))}",
                marker={"color": BLUE, "size": 12, "symbol": "star"},
                hovertemplate="<b>%{x:.2%}</b> test<extra></extra>",
            )
        )
    bounds = [bound for row in rows if row.confirmation for bound in row.confirmation.interval]
    bounds = bounds if report.metric == "accuracy" else [run.score(report.metric) for run in runs]
    fig.update_xaxes(title_text=report.metric_name, tickformat=share_format(bounds))
    fig.update_yaxes(
        autorange="reversed", showgrid=False, categoryorder="array", categoryarray=labels, type="category"
    )
    return fig


FIGURE = FigureSpec(
    name="confirmation",
    section="confidence",
    title="The best strategies, trained again",
    reads="Gray: single fresh trainings. Green: their mean; of accuracies with a 95% interval over seeds and "
    "images. "
    "Orange: the validation score that put the strategy on top.",
    describe=describe,
    draw=draw,
)
