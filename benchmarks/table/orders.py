"""Who goes on: whether a trial pauses at an epoch, and which paused one continues when a worker asks for work.

An order is a line in `ORDERS`. The pruners that stop trials for good are Optuna's, see `search.samplers`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

from automl_transfer.domain.spec import SearchSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.promotion import Ladder, bracket_of
from automl_transfer.store.values import Mark


@dataclasses.dataclass(frozen=True)
class At:
    """What a trial has after an epoch: its number, strategy, best value, loss there, seconds so far, label.

    `always`: it trains on, whatever others have (`search.first.RUN_TO_THE_END`).
    """

    number: int
    strategy: Strategy
    epoch: int
    value: float
    loss: float
    seconds: float
    label: str = ""
    always: bool = False


class Order(Protocol):
    """Decides for all workers of a study."""

    def pauses(self, at: At) -> bool:
        """Whether a trial waits after this epoch."""

    def next(self, left: float) -> int | None:
        """The number of the paused trial that goes on before a new one is drawn; it is paused no more."""

    def last(self, left: float, *, any_: bool = False) -> int | None:
        """The same where none may be drawn any more; whichever fits (`any_`) where none that is drawn does."""

    def is_too_late(self, left: float) -> bool:
        """Whether no new strategy may begin with so many seconds left."""


class Through:
    """Nothing pauses."""

    def __init__(self, spec: SearchSpec, budget: float) -> None:
        pass

    def pauses(self, at: At) -> bool:
        return False

    def next(self, left: float) -> int | None:
        return None

    def last(self, left: float, *, any_: bool = False) -> int | None:
        return None

    def is_too_late(self, left: float) -> bool:
        return False


class TopK:
    """i-Epoch: all strategies train for some epochs, then the best few of them to the end (Egele et al. 2024).

    Half of the time is for the first part.
    """

    def __init__(self, spec: SearchSpec, budget: float, epochs: int = 1) -> None:
        self._epochs, self._half = epochs, budget / 2
        self._waiting: dict[int, At] = {}

    def pauses(self, at: At) -> bool:
        if at.always or at.epoch != self._epochs:
            return False
        self._waiting[at.number] = at
        return True

    def next(self, left: float) -> int | None:
        return self.last(left) if left <= self._half else None

    def last(self, left: float, *, any_: bool = False) -> int | None:
        if not self._waiting:
            return None
        best = min(self._waiting.values(), key=lambda at: (-at.value, at.loss, at.number))
        del self._waiting[best.number]
        return best.number

    def is_too_late(self, left: float) -> bool:
        return left <= self._half


class Promoting:
    """The project's promotion (`search.promotion`)."""

    def __init__(self, spec: SearchSpec, budget: float) -> None:
        self._ladder = Ladder(spec.reduction_factor)
        self._rungs = spec.rungs
        self._epochs = spec.epochs

    def pauses(self, at: At) -> bool:
        if at.epoch not in self._rungs:
            return False
        mark = Mark(at.number, at.epoch, bracket_of(at.strategy), at.value, at.loss, at.seconds)
        if at.always or self._ladder.goes_on(mark, at.label):
            self._ladder.put(dataclasses.replace(mark, paused=False))
            return False
        return True

    def next(self, left: float) -> int | None:
        return self._take(self._ladder.promising(self._fits(left)))

    def last(self, left: float, *, any_: bool = False) -> int | None:
        return self._take(self._ladder.last_one(self._fits(left), any_=any_))

    def is_too_late(self, left: float) -> bool:
        return False

    def _fits(self, left: float) -> Callable[[Mark], bool]:
        return lambda mark: mark.seconds / mark.rung * (self._epochs - mark.rung) <= left

    def _take(self, mark: Mark | None) -> int | None:
        if mark is None:
            return None
        self._ladder.put(dataclasses.replace(mark, paused=False))
        number: int = mark.root
        return number


ORDERS: Mapping[str, Callable[[SearchSpec, float], Order]] = {
    "none": Through,
    "promote": Promoting,
    "1-epoch top K": TopK,
    "3-epoch top K": lambda spec, budget: TopK(spec, budget, 3),
}
