"""A study's answer so far as Markdown, for the note that optuna-dashboard shows on its page."""

from __future__ import annotations

import re

from automl_transfer.domain.records import TrialState
from automl_transfer.reporting.figures.base import FATES
from automl_transfer.reporting.plain import count, plain, seconds
from automl_transfer.reporting.ranking import Row
from automl_transfer.reporting.study_report import StudyReport

ROWS = 5
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


def study_note(report: StudyReport) -> str:
    """The best strategy, how it compares, how far the study is, and what failed."""
    best = report.ranking.best
    parts = [_headline(report, best)]
    if best is not None:
        parts += [f"> {words(best.description)}", _table(report)]
    parts.append(_progress(report))
    if report.task is not None and report.task.account is not None and report.task.account.summary:
        parts.append(words(report.task.account.summary, 600))
    parts += [
        f"Failed, trial {', '.join(map(str, failure.trials[:12]))}: {words(failure.reason)}"
        for failure in report.summary.failures[:ROWS]
    ]
    parts.append(
        "The score picked the best one, so expect less on new images. The search never looks at the test "
        "split. More: the figures on the study's first page, the plan and the curve of each trial "
        f"among its artifacts, and `automl-transfer report {_code(report.study)}`."
    )
    parts.append("*automl-transfer writes this note while the study runs, until a person edits it.*")
    return "\n\n".join(parts) + "\n"


def words(text: str, limit: int = 300) -> str:
    """Text in which nothing is Markdown or HTML."""
    return _MARKUP.sub(r"\\\1", plain(text, limit))


def _code(text: str) -> str:
    return plain(text, 60).replace("`", "'")


def _headline(report: StudyReport, best: Row | None) -> str:
    if best is None:
        return f"## No answer yet\n\nNo trial of {words(report.study, 60)} is complete."
    open_trials = [r for r in report.records if not r.state.finished]
    budget = report.spec.search.trials if report.spec is not None else 0
    done = not open_trials and len({r.root for r in report.records}) >= budget
    n = best.validation.n
    low, high = best.validation.interval
    return (
        f"## {'The answer' if done else 'The answer so far'}: trial {best.root_trial}\n\n"
        f"Validation {report.metric_name} **{100 * best.validation.score:.2f}%** of {n} images "
        f"(accuracy {100 * low:.1f} to {100 * high:.1f}%, 95% interval)." + _confirmed(best)
    )


def _confirmed(best: Row) -> str:
    found = best.confirmation
    if found is None:
        return ""
    low, high = found.interval
    return (
        f"\n\nConfirmed: accuracy **{100 * found.accuracy:.2f}%** ({100 * low:.1f} to {100 * high:.1f}%) "
        f"over {found.runs} fresh trainings, each on a split of its own."
    )


def _table(report: StudyReport) -> str:
    shown = report.ranking.rows[:ROWS]
    lines = [
        f"| # | set | trial | {report.metric_name} | training | weights | strategy |",
        "|--:|:--|--:|--:|--:|--:|:--|",
    ]
    for row in shown:
        weights = "" if row.parameters is None else count(row.parameters)
        lines.append(
            f"| {row.rank} | {row.set or ''} | {row.root_trial} | {100 * row.validation.score:.2f}% "
            f"| {seconds(row.train_seconds)} | {weights} | {words(row.description)} |"
        )
    table = "\n".join(lines)
    together = sum(row.set is not None for row in report.ranking.rows)
    if together > 1:
        table += (
            f"\n\n{together} strategies (set a) cannot be told apart from the best on these "
            f"{shown[0].validation.n} images, with 5% error over all comparisons."
        )
    hidden = len(report.ranking.rows) - len(shown)
    return table + (f"\n\n{hidden} more are ranked." if hidden > 0 else "")


def _progress(report: StudyReport) -> str:
    counts = report.summary.counts
    fates = [f"{counts[state]} {FATES[state][0]}" for state in TrialState if counts.get(state)]
    budget = f" of a budget of {report.spec.search.trials}" if report.spec is not None else ""
    roots = len({record.root for record in report.records})
    return f"{roots} strategies{budget}: {', '.join(fates) or 'none begun'} (trials)."
