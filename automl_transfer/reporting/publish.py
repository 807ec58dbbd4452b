"""Publishes a study's note and figures to its page in optuna-dashboard."""

from __future__ import annotations

import logging
import time

from automl_transfer.store.published import PublishedPage
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle

log = logging.getLogger(__name__)
MAIN_FIGURES = (
    "accuracy-over-time", "confirmation", "families", "curves", "compute", "pareto-prediction",
)  # fmt: skip
"""Those that the dashboard has not itself and that are drawn in no time; `report --html` has all of them."""

EVERY = 60.0
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
    from automl_transfer.reporting.note import study_note
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

    Workers share the work: whoever finds the page old writes it.
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
            age = PublishedPage(self._store, self._study).age()
        except Exception as error:
            log.debug("the study's page was not looked for: %s", error)
            return
        if age is not None and age < EVERY:
            return
        publish(self._store, self._study)
        self._next = began + max(EVERY, (time.monotonic() - began) / SHARE)
