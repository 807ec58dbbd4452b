"""How good the best known strategy was at any time, and every trial on the way."""

from __future__ import annotations

import plotly.graph_objects as go

from automl_transfer.domain.records import TrialState
from automl_transfer.reporting.figures.base import (
    GREEN,
    LOOKS,
    FigureSpec,
    figure,
    percent,
    share_format,
    time_axis,
    trial_points,
)
from automl_transfer.reporting.plain import seconds
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.reporting.summary import FATES, PAUSED, fate_of


def _incumbent(report: StudyReport) -> list[tuple[float, int, float]]:
    """(seconds, trial, score) from which on a trial was the best complete one."""
    if report.task is not None:
        by_root = {row.root_trial: row for row in report.ranking.rows}
        return [
            (p.seconds, p.root_trial, by_root[p.root_trial].validation.score)
            for p in report.ranking.timeline
            if p.root_trial in by_root
        ]
    found: list[tuple[float, int, float]] = []
    if report.maximised is None:
        return found
    sign = 1 if report.maximised else -1
    for record in sorted(report.complete, key=lambda r: report.elapsed(r) or 0.0):
        score, at = report.score(record), report.elapsed(record)
        if score is not None and at is not None and (not found or sign * score > sign * found[-1][2]):
            found.append((at, record.number, score))
    return found


def _points(report: StudyReport) -> list[tuple[str, list[int], list[float], list[float]]]:
    groups = []
    ended = (FATES[TrialState.PRUNED], PAUSED, FATES[TrialState.COMPLETE], FATES[TrialState.FAIL])
    for fate in ended:
        numbers, x, y = [], [], []
        for record in report.records:
            score, at = report.score(record), report.elapsed(record)
            if fate_of(record) == fate and score is not None and at is not None:
                numbers.append(record.number)
                x.append(at)
                y.append(score)
        if numbers:
            groups.append((fate, numbers, x, y))
    return groups


def describe(report: StudyReport) -> str:
    """The first, the last and the middle of the story."""
    steps = _incumbent(report)
    if not steps:
        return ""
    first, last = steps[0], steps[-1]
    text = (
        f"The first answer came after {seconds(first[0])} with {_shown(report, first[2])} "
        f"{report.metric_name}."
    )
    if last is not first:
        text += (
            f" The best validation score, {_shown(report, last[2])} (trial {last[1]}), was there after "
            f"{seconds(last[0])}, after {len(steps) - 1} improvement{'s' if len(steps) > 2 else ''}."
        )
    return text


def draw(report: StudyReport) -> go.Figure | None:
    """Points are trials at their end, the line is the best complete one so far."""
    groups, steps = _points(report), _incumbent(report)
    if not groups:
        return None
    end = max(max(x) for _, _, x, _ in groups)
    unit, unit_name = time_axis(end)
    shares = report.task is not None
    fig = figure()
    for name, numbers, x, y in groups:
        color, symbol = LOOKS[name]
        fig.add_trace(
            trial_points(
                report,
                [report.by_number[number] for number in numbers],
                [value / unit for value in x],
                y,
                name=name,
                color=color,
                symbol=symbol,
                shows="%{y:.2%}" if shares else "%{y:.5g}",
            )
        )
    if steps:
        fig.add_trace(
            go.Scatter(
                x=[s / unit for s, _, _ in steps] + [end / unit],
                y=[score for _, _, score in steps] + [steps[-1][2]],
                mode="lines",
                name="best so far",
                line={"shape": "hv", "color": GREEN, "width": 2.5},
                hoverinfo="skip",
            )
        )
    fig.update_xaxes(title_text=f"{unit_name} since the first trial began", rangemode="tozero")
    fig.update_yaxes(title_text=f"validation {report.metric_name}")
    if shares:
        top = max(max(y) for *_, y in groups)
        shown = sorted(value for *_, y in groups for value in y)
        # A few hopeless trials must not flatten the others: they are reached by zooming out.
        low = max(0.0, shown[len(shown) // 20] - 0.02)
        fig.update_yaxes(tickformat=share_format([low, top]), range=[low, top + 0.03 * (top - low + 0.05)])
    return fig


def _shown(report: StudyReport, score: float) -> str:
    return percent(score) if report.task is not None else f"{score:.5g}"


FIGURE = FigureSpec(
    name="accuracy-over-time",
    section="answer",
    title="Accuracy over time",
    reads="Each point is a trial at the moment it ended; the line is the best complete trial so far.",
    describe=describe,
    draw=draw,
)
