"""The resolution at which a first answer is there in time, by what passes take on this machine now."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automl_transfer.training.profile import Profiler

SMALLER = (0.5, 0.25)
"""Images are made so much smaller, where there is no time for passes over them as they are."""
SHARE = 2 / 3
"""Of the time that is left, what passes may take: heads, the model's files and the page take the rest."""


class InTime:
    """Which resolutions there is time for.

    Args:
        left: Seconds that the whole command has left; infinite where nothing limits it.
    """

    def __init__(self, left: Callable[[], float] = lambda: math.inf) -> None:
        self._left = left

    def first(self, profiler: Profiler, smaller: Sequence[float], sources: int) -> float:
        """The resolution of the first look: its usual one, or a smaller one where there is no time for that.

        Args:
            profiler: Of one source.
            smaller: Smaller resolutions that a strategy may have, the largest first.
            sources: How many sources the time is for.
        """
        found = profiler.scales[0]
        for scale in smaller:
            if self.is_enough_for(profiler, found, sources):
                break
            if profiler.can_look(scale):
                found = scale
        return found

    def spares(self, seconds: float) -> bool:
        """Whether so much goes unnoticed: a twentieth of what is left."""
        return seconds <= 0.05 * self._left()

    def is_enough_to_train(self, seconds: Callable[[], float], share: float = SHARE) -> bool:
        """Whether trainings that take so long fit into a share of the time; asked if that ends."""
        left = self._left()
        return math.isinf(left) or seconds() <= share * left

    def is_enough_for(self, profiler: Profiler, scale: float, sources: int = 1) -> bool:
        """Whether a look at this resolution fits into the time that is left, with a head that reads it."""
        left = self._left()
        return math.isinf(left) or profiler.seconds_for(scale) <= SHARE * left / sources
