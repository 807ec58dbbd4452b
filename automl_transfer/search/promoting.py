"""A study's promotion at work: what the store knows of its rungs, and who goes on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from automl_transfer.domain.records import EpochResult, StopReason, TrialOutcome, order_among
from automl_transfer.search.promotion import Ladder, bracket_of
from automl_transfer.store.files import drop_states, study_files
from automl_transfer.store.rungs import Rungs
from automl_transfer.store.store import Store
from automl_transfer.store.values import Claim, Mark, StudyHandle


@dataclasses.dataclass(frozen=True)
class Ended:
    """Paused trials that ended, by their roots, and why; none where `roots` is empty."""

    roots: tuple[int, ...]
    why: str


class Promotion:
    """Pauses the trials of a study at its rungs, and goes on with the best of them. For one worker.

    A study whose pruner is another one has no rungs: nothing pauses, but what has paused before goes on.
    """

    def __init__(self, store: Store, study: StudyHandle) -> None:
        search = study.spec.search
        self._study = study
        self._search = search
        self._rungs = Rungs(store, study)
        self._ladder = Ladder(search.reduction_factor)
        self.rungs = search.paused_at

    def at_rung(self, claim: Claim, epoch: int, best: EpochResult, seconds: float) -> Mark | None:
        """What a trial has at the rung where it is; None where it is at none, or has been there before."""
        if epoch not in self.rungs:
            return None
        self._look()
        if self._rungs.knows(claim.root, epoch):
            return None
        value, minus_loss = order_among((best,), self._study.task.metric)(best)
        return Mark(claim.root, epoch, bracket_of(claim.strategy), value, -minus_loss, seconds)

    def goes_on(self, claim: Claim, mark: Mark, *, always: bool) -> bool:
        """Whether a trial trains on at once, because it is the most promising one, or `always`; then noted.

        Raises:
            TrialLostError: The claim is lost.
        """
        if not always and not self._ladder.goes_on(mark, claim.label):
            return False
        going = dataclasses.replace(mark, paused=False)
        self._ladder.put(going)
        self._rungs.go_on(claim, going)
        return True

    def pause(self, claim: Claim, mark: Mark, stop: StopReason, outcome: TrialOutcome) -> Ended:
        """Give a trial back at its rung; where checkpoints take too much room, the worst trials end.

        Returns:
            Those that ended.

        Raises:
            TrialLostError: The claim is lost.
        """
        self._rungs.pause(claim, mark, stop, outcome)
        self._ladder.put(mark)
        room = self._search.paused_gb
        why = f"checkpoints of paused trials may take {room:g} GB (search.paused_gb)"
        return self._drop(self._rungs.end(why, keep_bytes=max(1, int(room * 1e9))), why)

    def next(self, worker: str, left: float = math.inf) -> Claim | None:
        """The most promising paused trial that may end in the `left` seconds; None: a new strategy is due."""
        while True:
            self._look()
            if (mark := self._ladder.promising(self._fits(left))) is None:
                return None
            if (claim := self._take(mark, worker)) is not None:
                return claim

    def last(self, worker: str, left: float = math.inf, *, any_: bool = False) -> Claim | None:
        """The best paused trial that may end in the `left` seconds, where none is drawn any more.

        See `Ladder.last_one`.
        """
        while True:
            self._look()
            if (mark := self._ladder.last_one(self._fits(left), any_=any_)) is None:
                return None
            if (claim := self._take(mark, worker)) is not None:
                return claim

    def waits(self, left: float = math.inf) -> bool:
        """Whether a paused one would go on, where none is drawn any more and there are `left` seconds."""
        self._look()
        return self._ladder.last_one(self._fits(left)) is not None

    def end(self) -> Ended:
        """Nothing will go on any more: end what is paused."""
        why = "others were better there"
        return self._drop(self._rungs.end(why), why)

    def _fits(self, left: float) -> Callable[[Mark], bool]:
        epochs = self._search.epochs
        return lambda mark: mark.seconds / mark.rung * (epochs - mark.rung) <= left

    def _take(self, mark: Mark, worker: str) -> Claim | None:
        claim = self._rungs.promote(mark, worker)
        # Taken by this worker or by another one: either way it is paused no more.
        self._ladder.put(dataclasses.replace(mark, paused=False))
        return claim

    def _look(self) -> None:
        for mark in self._rungs.news():
            self._ladder.put(mark)

    def _drop(self, roots: Sequence[int], why: str) -> Ended:
        for root in roots:
            drop_states(study_files(self._study), root)
        return Ended(tuple(roots), why)
