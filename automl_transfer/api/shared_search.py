"""What a search shares with others of the same study, and with workers that run its trials."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from automl_transfer.api.time_plan import Costs, TimePlan
from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.warm import WarmStart
from automl_transfer.search.first import PROFILE_KEY, FirstAnswers
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import StudyHandle
from automl_transfer.workers.sharing import FIRST, SharedWork

WAITS = "another search of this study makes its profile"


class SharedFirst:
    """The first answers of a study, made by one process at a time.

    Who made the profile keeps the right until all that follows from it is enqueued, because it has the
    features; others run what is enqueued, or wait.
    """

    def __init__(
        self,
        bench: Workbench,
        trials: Trials,
        shared: SharedWork,
        on_profile: Callable[[ProfileRecord], None],
        on_wait: Callable[[str], None],
        left: Callable[[], float] = lambda: math.inf,
        on_start: Callable[[WarmStart], None] = lambda begun: None,
    ) -> None:
        self._left = left
        self._handle = bench.handle
        self._trials = trials
        self._shared = shared
        self._on_wait = on_wait
        self._first = FirstAnswers(bench, trials, on_profile, left, on_start)
        self._done = False

    def quick(self) -> None:
        """Enqueue the first answer, or wait until another process has, or the time is up."""

        def no_need() -> bool:
            return self._has_looked() or self._left() <= 0

        if not self._handle.spec.search.profile or self._has_looked():
            return
        if not self._shared.wait(FIRST, lambda: self._on_wait(WAITS), unless=no_need):
            return
        if self._has_looked():
            self._shared.give_back(FIRST)
        else:
            self._first.quick()

    def rest(self) -> bool:
        """Enqueue the others; whether there may be something to run now."""
        if self._done:
            return False
        before = self._trials.counts(self._handle).roots
        if not self._shared.wait(FIRST, lambda: self._on_wait(WAITS), unless=self._something_waits):
            return True
        left = self._first.rest()
        self._shared.give_back(FIRST)
        self._done = True
        return left or self._trials.counts(self._handle).roots > before

    @property
    def answers(self) -> bool:
        """Whether a solved head is enqueued by now, and nothing is complete yet."""
        return self._has_looked() and not self._trials.counts(self._handle).complete

    def _has_looked(self) -> bool:
        return self._trials.enqueued(self._handle, PROFILE_KEY)

    def _something_waits(self) -> bool:
        return self._trials.counts(self._handle).waiting > 0 or self._left() <= 0


class SearchTime:
    """When the trials of a search end, by its plan and what is in the store; told to workers elsewhere."""

    def __init__(
        self,
        plan: TimePlan,
        store: Store,
        study: StudyHandle,
        shared: SharedWork,
    ) -> None:
        self._plan = plan
        self._store = store
        self._study = study
        self._shared = shared
        self._known: tuple[int, int] | None = None
        self._ends = plan.ends

    def __call__(self) -> float:
        """On the clock of `time.monotonic()`; worked out anew where more trials are complete."""
        trials, evidence = Trials(self._store), Evidence(self._store)
        counts = trials.counts(self._study)
        if self._known != (counts.complete, counts.failed):
            costs = Costs.known(
                self._plan.task, evidence.runs(self._study, "confirm"), evidence.profiles(self._study)
            )
            self._ends = self._plan.search_ends(trials.records(self._study), costs)
            self._shared.ends_in(self._ends - time.monotonic())
            self._known = (counts.complete, counts.failed)
        return self._ends

    @property
    def is_up(self) -> bool:
        """Whether there is no more time for trials, as far as was looked."""
        return time.monotonic() >= self._ends
