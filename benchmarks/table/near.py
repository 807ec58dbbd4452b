"""Which recorded strategy stands for one that a sampler draws: the nearest, by what is known to matter."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.likeness import UNLIKE, Likeness

AMONG = 3
"""So many of the nearest may stand for a strategy."""


class Nearest:
    """Finds the nearest of some strategies.

    Args:
        known: Strategies to choose from.
    """

    def __init__(self, known: Sequence[Strategy]) -> None:
        self._likeness = Likeness(known)
        self._exact = {one.key(): number for number, one in reversed(list(enumerate(known)))}

    def find(self, strategy: Strategy, met: Collection[int] = ()) -> tuple[int, float]:
        """Its number, and how far it is: 0 for the same one, about 2 for one important dimension.

        Of the nearest few one that was not `met` is preferred: two strategies that differ do not end alike.
        """
        if (number := self._exact.get(strategy.key())) is not None:
            return number, 0.0
        distances = self._likeness.distances(strategy)
        nearest = [int(at) for at in np.argsort(distances, kind="stable")[:AMONG] if distances[at] < UNLIKE]
        number = next((at for at in nearest if at not in met), nearest[0])
        return number, float(distances[number])
