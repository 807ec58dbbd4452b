"""The false-prune audit: how often pruning was wrong, by what randomly chosen pruned trials reached."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from automl_transfer.domain.evidence import ExtraRun
from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.reporting.figures.base import (
    BLUE,
    GRAY,
    GREEN,
    VERMILLION,
    FigureSpec,
    figure,
    percent,
    share_format,
    trial_points,
)
from automl_transfer.reporting.statistics import Interval, clopper_pearson
from automl_transfer.reporting.study_report import StudyReport


@dataclass(frozen=True)
class Audit:
    """The pruned trials that were run to their end.

    Attributes:
        trials: Each with its trial and the score at which it was stopped.
        pruned: Pruned trials in all, of which these are a random sample.
        best: The best validation score of the study, which a wrongly pruned trial would have beaten.
        wrong: How many did.
        interval: 95% Clopper-Pearson interval of the share that would have.
    """

    trials: tuple[tuple[TrialRecord, float, ExtraRun], ...]
    pruned: int
    best: float
    wrong: int
    interval: Interval


def audit(report: StudyReport) -> Audit | None:
    """The audit so far; None where no pruned trial was run to its end, or nothing is complete."""
    ends = {run.root: run for run in report.runs if run.kind == "audit"}
    pruned = [r for r in report.records if r.state is TrialState.PRUNED and not r.is_paused]
    trials = []
    for record in pruned:
        score = report.score(record)
        if record.root in ends and score is not None:
            trials.append((record, score, ends[record.root]))
    best = max((row.validation.score for row in report.ranking.rows), default=None)
    if not trials or best is None:
        return None
    wrong = sum(run.score(report.metric) > best for _, _, run in trials)
    return Audit(tuple(trials), len(pruned), best, wrong, clopper_pearson(wrong, len(trials)))


def describe(report: StudyReport) -> str:
    """How often pruning was wrong, with an interval."""
    found = audit(report)
    if found is None:
        return ""
    n = len(found.trials)
    low, high = found.interval
    best_end = max(run.score(report.metric) for _, _, run in found.trials)
    return (
        f"{found.wrong} of {n} pruned trials, chosen at random among {found.pruned} and run to the end, "
        "would have "
        f"beaten the best validation score ({percent(found.best)}): {percent(found.wrong / n, 0)}, 95% "
        "interval "
        f"{percent(low, 0)} to {percent(high, 0)}. The best of them ended at {percent(best_end)}."
    )


def draw(report: StudyReport) -> go.Figure | None:
    """From the score at which a trial was stopped to the score at its end."""
    found = audit(report)
    if found is None:
        return None
    trials = sorted(found.trials, key=lambda entry: entry[2].score(report.metric))
    labels = [f"trial {record.number}" for record, _, _ in trials]
    ends = [run.score(report.metric) for _, _, run in trials]
    fig = figure(height=130 + 30 * len(trials))
    for label, (_, stopped, _), end in zip(labels, trials, ends, strict=True):
        fig.add_trace(
            go.Scatter(
                x=[stopped, end], y=[label, label], mode="lines", line={"color": GRAY, "width": 2},
                showlegend=False, hoverinfo="skip",
            )
        )  # fmt: skip
    for name, color, values in (
        ("when stopped", GRAY, [s for _, s, _ in trials]),
        ("at the end", BLUE, ends),
    ):
        points = trial_points(
            report, [record for record, _, _ in trials], values, [0.0] * len(trials),
            name=name, color=color, size=10, shows="%{x:.2%}",
        )  # fmt: skip
        points.y = labels
        fig.add_trace(points)
    fig.add_vline(
        x=found.best,
        line={"color": VERMILLION if found.wrong else GREEN, "width": 2, "dash": "dash"},
        annotation={"text": "best of the study", "yanchor": "bottom", "font": {"size": 11}},
    )
    reached = share_format([found.best, *ends, *(stopped for _, stopped, _ in trials)])
    fig.update_xaxes(title_text=f"validation {report.metric_name}", tickformat=reached)
    fig.update_yaxes(showgrid=False)
    return fig


FIGURE = FigureSpec(
    name="audit",
    section="cost",
    title="Was pruning right?",
    reads="Each line is a pruned trial that was run on: from the score at which it was stopped to its "
    "best at the "
    "end. Pruning was wrong where the end lies right of the dashed line.",
    describe=describe,
    draw=draw,
)
