"""The thread that keeps a worker's lease alive and reaps what dead workers left behind."""

from __future__ import annotations

from collections.abc import Callable

from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, Reaped, StudyHandle
from automl_transfer.workers.identity import is_dead
from automl_transfer.workers.repeated import Repeated


class Heartbeat(Repeated):
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
        super().__init__("heartbeat", interval)
        self._trials = trials
        self._study = study
        self._grace = grace
        self._on_reaped = on_reaped
        self._before_reap = before_reap
        self._claim: Claim | None = None
        self._lost_token: str | None = None
        self._steps = 0

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

    def step(self) -> None:
        """Beat, and every second time look for dead workers."""
        self._steps += 1
        claim = self._claim
        if claim is not None and self._trials.beat([claim]):
            self._lost_token = claim.token
        if self._steps % 2 == 0:
            self.reap()


def reap_lost(trials: Trials, study: StudyHandle, *, grace: float) -> list[Reaped]:
    """Fail and continue trials of lost workers: at once where the process is known to be gone."""
    dead = [row.worker for row in trials.workers(study) if is_dead(row.worker)]
    return trials.reap(study, grace=grace, dead=dead)
