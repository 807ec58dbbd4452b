"""A study's page in optuna-dashboard: its note and figures, made and published."""

from __future__ import annotations

import logging
import re
import time

from automl_transfer.reporting.plain import count, plain, seconds
from automl_transfer.reporting.ranking import RankedStrategy
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.store.published import PublishedPage
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle

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


def _headline(report: StudyReport, best: RankedStrategy | None) -> str:
    if best is None:
        return f"## No answer yet\n\nNo trial of {words(report.study, 60)} is complete."
    open_trials = [r for r in report.records if r.is_open]
    budget = report.spec.search.trials if report.spec is not None else 0
    done = not open_trials and (
        report.ranking.ended is not None or len({r.root for r in report.records}) >= budget
    )
    n = best.validation.n
    low, high = best.validation.interval
    return (
        f"## {'The answer' if done else 'The answer so far'}: trial {best.root_trial}\n\n"
        f"Validation {report.metric_name} **{100 * best.validation.score:.2f}%** of {n} images "
        f"(accuracy {100 * low:.1f} to {100 * high:.1f}%, 95% interval)." + _confirmed(best)
    )


def _confirmed(best: RankedStrategy) -> str:
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
    budget = f" of a budget of {report.spec.search.trials}" if report.spec is not None else ""
    roots = len({record.root for record in report.records})
    return f"{roots} strategies{budget}: {report.summary.fates() or 'none begun'} (trials)."


log = logging.getLogger(__name__)
MAIN_FIGURES = (
    "accuracy-over-time", "confirmation", "families", "curves", "compute", "pareto-prediction",
)  # fmt: skip
"""Those that the dashboard has not itself and that are drawn in no time; `report --html` has all of them."""

EVERY = 60.0
TRIALS_A_SECOND = 50.0
"""A page of 20,000 trials, which takes a minute to make, comes every 400 seconds."""
SHARE = 0.02
"""Of its time, a worker spends at most this much on the page, once that is more than once in `EVERY`."""


def publish(store: Store, study: StudyHandle) -> bool:
    """Write the note and the main figures of a study.

    Best effort, for a page is no reason to stop a search: what goes wrong is logged.

    Returns:
        Whether it was done; never in a store that is only read.
    """
    if store.read_only:
        return False
    # Plotly and the ranking are loaded only now: not every process publishes.
    from automl_transfer.reporting.figures.registry import FIGURES
    from automl_transfer.reporting.study_report import read_study_report

    try:
        report = read_study_report(store, study)
        figures = {}
        for name in MAIN_FIGURES:
            figure = FIGURES[name]
            drawn = figure.draw(report)
            if drawn is not None:
                # The dashboard sets figures on white or on black, and shows nothing but the figure itself.
                drawn.update_layout(
                    title={"text": figure.title, "font": {"size": 16}}, margin={"t": 72}, height=450
                )
                figures[figure.name] = drawn.to_json()
        PublishedPage(store, study).write(study_note(report), figures, f"validation {report.metric_name}")
    except Exception as error:
        log.warning("the study's page in the dashboard was not updated: %s: %s", type(error).__name__, error)
        return False
    return True


class LivePage:
    """Publishes while a study runs: call it after each trial, it acts about once in `EVERY` seconds.

    Workers share the work: whoever finds the page old writes it, and nobody else meanwhile. A page of many
    trials takes long, and comes less often.
    """

    def __init__(self, store: Store, study: StudyHandle) -> None:
        self._store = store.with_patience(0)
        self._study = study
        self._next = 0.0

    def __call__(self) -> None:
        """Look, and publish if it is time. Never raises, never waits for the database."""
        began = time.monotonic()
        if began < self._next:
            return
        self._next = began + EVERY
        try:
            due = PublishedPage(self._store, self._study).begin(EVERY, a_second=TRIALS_A_SECOND)
        except Exception as error:
            log.debug("the study's page was not looked for: %s", error)
            return
        if not due:
            return
        publish(self._store, self._study)
        self._next = began + max(EVERY, (time.monotonic() - began) / SHARE)
