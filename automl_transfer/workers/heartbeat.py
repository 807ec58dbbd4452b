"""The thread that keeps a worker's lease alive and reaps what dead workers left behind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, Reaped, StudyHandle
from automl_transfer.workers.identity import is_dead

log = logging.getLogger(__name__)


class Heartbeat:
    """Beats for the current claim every `interval` seconds, on the database's clock.

    An error of the database is swallowed and the next beat tries again: the lease outlasts an outage
    shorter than the grace period. A claim that another worker owns by now is remembered as lost.
    """

    def __init__(
        self,
        trials: Trials,
        study: StudyHandle,
        *,
        interval: float,
        grace: float,
        on_reaped: Callable[[Reaped], None],
        before_reap: Callable[[], None] = lambda: None,
    ) -> None:
        self._trials = trials
        self._study = study
        self._interval = interval
        self._grace = grace
        self._on_reaped = on_reaped
        self._before_reap = before_reap
        self._claim: Claim | None = None
        self._lost_token: str | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=self._interval + 5)

    def holds(self, claim: Claim | None) -> None:
        """From now on beat for this claim, or for none."""
        self._claim = claim

    @property
    def lost(self) -> bool:
        """Whether the current claim is known to belong to another worker."""
        claim = self._claim
        return claim is not None and claim.token == self._lost_token

    def reap(self) -> None:
        """Hand on what dead workers hold, after what they had finished was handed in."""
        self._before_reap()
        for item in reap_lost(self._trials, self._study, grace=self._grace):
            self._on_reaped(item)

    def _run(self) -> None:
        rounds = 0
        while not self._end.wait(self._interval):
            rounds += 1
            try:
                claim = self._claim
                if claim is not None and self._trials.beat([claim]):
                    self._lost_token = claim.token
                if rounds % 2 == 0:
                    self.reap()
            except Exception as error:
                log.warning("heartbeat: %s: %s", type(error).__name__, error)


def reap_lost(trials: Trials, study: StudyHandle, *, grace: float) -> list[Reaped]:
    """Fail and continue trials of lost workers: at once where the process is known to be gone."""
    dead = [row.worker for row in trials.workers(study) if is_dead(row.worker)]
    return trials.reap(study, grace=grace, dead=dead)
