"""Moves the end of the time while a search runs: what is left for trials depends on what was found."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Self

from automl_transfer.store.claims import Claims
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import StudyHandle
from automl_transfer.workers.identity import is_dead
from automl_transfer.workers.repeated import Repeated
from automl_transfer.workers.sharing import SEARCH
from automl_transfer.workers.signals import StopRequest

log = logging.getLogger(__name__)

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


class WorkerTime:
    """The deadline of a worker: that of the search whose trials it runs, else its own.

    A study with `minutes` gives a worker so many from its own start. Where a search of the study runs, the
    worker leaves with the last of these searches, so that they confirm and ship what is there.

    Args:
        own: The worker's own deadline, on the clock of `time.monotonic()`; None for none.
    """

    def __init__(self, store: Store, study: StudyHandle, own: float | None) -> None:
        self._claims = Claims(store.with_patience(0), study, "", grace=60.0, is_dead=is_dead)
        minutes = study.spec.search.minutes
        began = time.monotonic()
        self._alone = None if minutes is None else began + 60.0 * minutes
        self._own = own
        self._limited = minutes is not None
        self._searches: float | None = None

    def __call__(self) -> float | None:
        """When to leave."""
        if self._limited:
            try:
                self._searches = self._look() or self._searches
            except Exception as error:  # the store is away: what was known stays
                log.debug("the end of the search was not looked up: %s", error)
        found = [self._own, self._searches if self._searches is not None else self._alone]
        return min((at for at in found if at is not None), default=None)

    def _look(self) -> float | None:
        ends = [
            time.monotonic() + each.left
            for each in self._claims.held()
            if each.work.startswith(SEARCH) and each.left is not None
        ]
        return max(ends, default=None)
