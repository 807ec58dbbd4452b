"""Moves the end of the time while a search runs: what is left for trials depends on what was found."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from automl_transfer.store.claims import Claims
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import StudyHandle
from automl_transfer.workers.identity import is_dead
from automl_transfer.workers.repeated import Repeated
from automl_transfer.workers.sharing import BEAT, SEARCH
from automl_transfer.workers.signals import StopRequest

log = logging.getLogger(__name__)

MAX_TIME = "its --max-time is over"
LEAVING = 8.0
"""Seconds that workers get to leave by themselves when the time for trials is up, before they are asked."""


class TimeKeeper(Repeated):
    """Within the block a thread asks for the deadline again and again, and tells the stop request.

    Args:
        stop: Whose deadline it is.
        deadline: On the clock of `time.monotonic()`; None for no limit. Asked once before the block, then
            by the thread. What it raises there is logged, and the deadline stays.
        interval: Seconds between two questions.
    """

    def __init__(
        self, stop: StopRequest, deadline: Callable[[], float | None], *, interval: float = 2.0
    ) -> None:
        super().__init__("the end of the time was not looked up", interval)
        self._stop = stop
        self._deadline = deadline

    def __enter__(self) -> Self:
        self.step()
        return super().__enter__()

    def step(self) -> None:
        """Ask, and tell."""
        self._stop.until(self._deadline())


class SupervisorTime:
    """The deadline of a process that would stop its workers whatever they do: a little later than theirs.

    They leave by themselves, and the first one not before the study has an answer.

    Args:
        deadline: Theirs.
    """

    def __init__(self, deadline: Callable[[], float | None], store: Store, study: StudyHandle) -> None:
        self._deadline = deadline
        self._trials = Trials(store.with_patience(0))
        self._study = study

    def __call__(self) -> float | None:
        """When to ask those that are still there to stop."""
        at = self._deadline()
        if at is None or time.monotonic() < at:
            return None if at is None else at + LEAVING
        return at + LEAVING if self._trials.counts(self._study).complete else math.inf


@contextmanager
def asked_after(stop: StopRequest, seconds: float) -> Iterator[None]:
    """Within the block, stopping is asked for after so many seconds (`--max-time`; infinity: never).

    As by a batch system's warning: the time of the search goes on, so this worker owes it no answer.
    """
    if math.isinf(seconds):
        yield
        return
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), stop.ask, (MAX_TIME,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class WorkerTime:
    """When the time is up for a worker: with that of the search whose trials it runs, else by the study.

    A study with `minutes` gives a worker so many from its own start. Where a search of the study runs, the
    worker leaves with the last of these searches, so that they confirm and ship what is there.
    """

    def __init__(self, store: Store, study: StudyHandle) -> None:
        self._claims = Claims(store.with_patience(0), study, "", grace=60.0, is_dead=is_dead)
        minutes = study.spec.search.minutes
        began = time.monotonic()
        self._alone = None if minutes is None else began + 60.0 * minutes
        self._limited = minutes is not None
        self._searches: float | None = None

    def __call__(self) -> float | None:
        """When to leave."""
        if self._limited:
            try:
                self._searches = self._look() or self._searches
            except Exception as error:  # the store is away: what was known stays
                log.debug("the end of the search was not looked up: %s", error)
        return self._searches if self._searches is not None else self._alone

    def _look(self) -> float | None:
        # What was told before an outage, or before a machine slept, is told anew with the next beat.
        ends = [
            time.monotonic() + each.left
            for each in self._claims.held()
            if each.work.startswith(SEARCH) and each.left is not None and each.age < 3 * BEAT
        ]
        return max(ends, default=None)
