"""Of several draws the one that is expected to improve most on the best strategy, a predicted second.

Expected improvement (Jones et al. 1998, Journal of Global Optimization 13:455, equation 15) over seconds, as
Snoek et al. 2012 have it (NeurIPS, section 3.2): a strategy that takes four times as long has to promise four
times as much. What a strategy is expected to reach is the mean of those that were tried, by their likeness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.cost import Cost
from automl_transfer.search.likeness import Floats, Likeness

DRAWS = 4
"""So many, of which one is trained."""
FEWEST = 3
"""Strategies that must have been tried before draws are compared by what is expected of them."""
REACH = 4.0
"""Distance at which half of what one strategy reached says nothing of another."""
KEPT = 500
"""Trials that are remembered, the newest: a draw is not to take longer in a long study."""
LEAST_SPREAD = 0.01
"""Standard deviation of what strategies reach, at least."""
LEAST_SECONDS = 1.0
"""Whatever it does, a trial takes so long to be claimed, built and judged."""


class Choice:
    """What is expected of strategies, by those that were tried.

    Args:
        cost: Predicts seconds; None chooses by improvement alone.
    """

    def __init__(self, cost: Cost | None) -> None:
        self._cost = cost
        self._known = Likeness()
        self._values: dict[int, float] = {}
        self._best = -math.inf

    def learn(self, trial: int, strategy: Strategy, value: float) -> None:
        """What a trial has reached; later news of the same one replace earlier ones."""
        if trial not in self._values:
            self._known.add(strategy)
        self._values[trial] = value
        self._best = max(self._best, value)
        if len(self._values) >= 2 * KEPT:
            for oldest in list(self._values)[:KEPT]:
                del self._values[oldest]
            self._known.forget(KEPT)

    def best(self, strategies: Sequence[Strategy]) -> int:
        """Which of them to try; the first one while too few were tried to tell."""
        if len(strategies) < 2 or len(self._values) < FEWEST:
            return 0
        worths = self._improvements(strategies)
        if self._cost is not None:
            worths = [
                worth / max(LEAST_SECONDS, self._cost.seconds(one))
                for worth, one in zip(worths, strategies, strict=True)
            ]
        return int(np.argmax(worths))

    def _improvements(self, strategies: Sequence[Strategy]) -> list[float]:
        values = np.array(list(self._values.values()))
        spread = max(LEAST_SPREAD, float(values.std()))
        return [self._improvement(self._known.distances(one), values, spread) for one in strategies]

    def _improvement(self, distances: Floats, values: Floats, spread: float) -> float:
        near = 2.0 ** -(distances / REACH)
        expected = (near @ values + 0.1 * np.median(values)) / (near.sum() + 0.1)
        deviation = spread * math.sqrt(1.0 - 0.9 * float(near.max()))
        z = (float(expected) - self._best) / deviation
        density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        return deviation * (z * 0.5 * math.erfc(-z / math.sqrt(2.0)) + density)
