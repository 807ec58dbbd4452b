"""Whether a worker begins a new strategy, and which, where nothing waits and no paused one is promising."""

from __future__ import annotations

from collections.abc import Callable

from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.noise import over_by
from automl_transfer.search.promoting import Promotion
from automl_transfer.search.proposals import Proposals
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, StudyHandle, TrialDraft

NEW = 8
"""Draws that were known to be tried, after which a space has nothing new; or that had no time."""
LOST = 8 * NEW
"""Draws that another worker began at the same moment, after which it is as if they had been known."""


class Beginning:
    """Begins strategies of a study, each of them once, whoever draws it. For one worker.

    Args:
        earlier: Takes on what earlier tasks propose, of strategies that it is told to fit; None where they
            propose nothing more.

    Attributes:
        exhausted: Nothing new is drawn any more.
        too_late: There is an answer, and what is left of the time is too short for the whole training of
            another strategy.
    """

    def __init__(
        self,
        trials: Trials,
        study: StudyHandle,
        history: SamplerHistory,
        promotion: Promotion,
        proposals: Proposals,
        earlier: Callable[[Callable[[Strategy], bool]], Claim | None],
    ) -> None:
        self._trials, self._study = trials, study
        self._history, self._promotion, self._proposals = history, promotion, proposals
        self._earlier = earlier
        self.exhausted = self.too_late = False

    def next(self, worker: str, left: float, *, late: bool) -> Claim | None:
        """A new strategy; a paused one where none may be begun, or none would come to its end in time.

        Args:
            worker: Who runs it.
            left: Seconds that trials have left.
            late: The time is up, and nothing is complete: whatever can end is taken.
        """
        limit = self._study.spec.search.trials
        if self.exhausted or self._is_full(limit) or self._is_over():
            return self._promotion.last(worker, left)
        if late and (claim := self._promotion.last(worker, left, any_=True)) is not None:
            return claim
        if (claim := self._earlier(lambda strategy: self._proposals.fits(strategy, left))) is not None:
            return claim
        known = lost = late_ones = 0
        while known < NEW and lost < LOST:
            proposal = self._proposals.next(left)
            if not proposal.fits:
                if (claim := self._promotion.last(worker, left, any_=True)) is not None:
                    return claim
                if self._history.best() is not None:
                    late_ones += 1
                    if late_ones < NEW:
                        continue
                    self.too_late = True
                    return None
            claim = self._trials.create(self._study, proposal.draft, worker, limit=limit, distinct=True)
            if claim is not None or self._is_full(limit):
                return claim
            if self._is_known(proposal.draft):
                known += 1
            else:
                lost += 1
                self._proposals.part_ways()
        self.exhausted = True
        return self._promotion.last(worker, left)

    def _is_known(self, draft: TrialDraft) -> bool:
        """Whether it had been begun when it was drawn; else another worker drew the same and was sooner."""
        return any(each.params == draft.params for each in self._history.known())

    def _is_full(self, limit: int) -> bool:
        return self._trials.is_full(self._study, limit)

    def _is_over(self) -> bool:
        """As `noise.search_is_over` says of the store, by what a draw looks at anyway."""
        return over_by(self._study.spec.search, self._study.task, self._history.best) is not None
