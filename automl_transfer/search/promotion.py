"""Which paused trial goes on: asynchronous successive halving that promotes (Li et al. 2020, algorithm 2).

Every trial pauses at each rung. Of those that came to a rung, the best share goes on to the next one; who
asks for work takes the most promising of them before a new strategy is drawn. Unlike stopping, a pause is no
verdict: what looked bad beside its first competitors may go on when more are there to compare it with.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator

from automl_transfer.domain.dimensions import SOLVED
from automl_transfer.domain.strategy import Strategy
from automl_transfer.store.values import Mark

SOLVED_HEAD, FRESH_HEAD = "solved head", "fresh head"
"""Brackets: a head that was solved begins where a fresh one may end, so they are not compared before that."""


PROPOSED = "earlier"
"""Label of trials that earlier tasks proposed; their number stands behind it."""
JUDGED_LABEL = "fine-tuned whole, judged larger"
"""Of what is a first answer but for the size of its images."""


def is_chosen(label: str) -> bool:
    """Whether a trial was chosen before the study's own trials were there to compare it with."""
    return label.startswith(PROPOSED) or label == JUDGED_LABEL


def bracket_of(strategy: Strategy) -> str:
    """With which others a strategy is compared at rungs."""
    return SOLVED_HEAD if strategy.head_init in SOLVED else FRESH_HEAD


class Ladder:
    """What has come to the rungs of a study, and what goes on from there.

    Args:
        factor: One trial in so many goes on from each rung.
    """

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._marks: dict[tuple[int, int], Mark] = {}
        self._order: dict[tuple[int, str], list[tuple[float, float, int]]] = defaultdict(list)

    def put(self, mark: Mark) -> None:
        """Take in what a trial has at a rung, or that it went on."""
        before = self._marks.get((mark.rung, mark.root))
        ranks = self._order[mark.rung, mark.bracket]
        if before is not None and _rank(before) != _rank(mark):
            ranks.remove(_rank(before))
            before = None
        if before is None:
            bisect.insort(ranks, _rank(mark))
        self._marks[mark.rung, mark.root] = mark

    def goes_on(self, mark: Mark, label: str = "") -> bool:
        """Whether a trial that is at its rung now would be the first one to go on.

        What was chosen before (`is_chosen`) need not wait for others to be compared with: it goes on where it
        is ahead of all that came there.
        """
        if is_chosen(label) and self.leads(mark):
            return True
        self.put(mark)
        best = self.promising()
        return best is not None and (best.rung, best.root) == (mark.rung, mark.root)

    def leads(self, mark: Mark) -> bool:
        """Whether a trial at its rung is ahead of all others of its bracket that came there, one at least."""
        ranks = self._order.get((mark.rung, mark.bracket), [])
        others = [rank for rank in ranks if rank[-1] != mark.root]
        return bool(others) and _rank(mark) < others[0]

    def promising(self, fits: Callable[[Mark], bool] = lambda mark: True) -> Mark | None:
        """The most promising paused trial: of the highest rung where one is among its bracket's best share.

        Args:
            fits: Whether there is time for one to come to its end.
        """
        for rung in sorted({rung for rung, _ in self._order}, reverse=True):
            best = [
                next((m for m in self._paused(rung, ranks[: len(ranks) // self._factor]) if fits(m)), None)
                for (at, _), ranks in self._order.items()
                if at == rung
            ]
            if found := [mark for mark in best if mark is not None]:
                return min(found, key=_rank)
        return None

    def last_one(
        self, fits: Callable[[Mark], bool] = lambda mark: True, *, any_: bool = False
    ) -> Mark | None:
        """Where no new strategy is drawn any more: the best paused one that may still go on.

        The shares are rounded up: the best one of each bracket goes on, however few there are.

        Args:
            fits: Whether there is time for one to come to its end.
            any_: Take whichever fits: there is a little time left, and nothing better to do with it.
        """
        found: list[Mark] = []
        for (rung, _), ranks in self._order.items():
            share = len(ranks) if any_ else -(-len(ranks) // self._factor)
            found += filter(fits, self._paused(rung, ranks[:share]))
        return min(found, key=_rank, default=None)

    def _paused(self, rung: int, ranks: list[tuple[float, float, int]]) -> Iterator[Mark]:
        marks = (self._marks[rung, root] for _, _, root in ranks)
        return (mark for mark in marks if mark.paused)


def _rank(mark: Mark) -> tuple[float, float, int]:
    """Lower is better."""
    return -mark.value, mark.loss, mark.root
