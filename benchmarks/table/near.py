"""Which recorded strategy stands for one that a sampler draws: the nearest, by what is known to matter."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.strategy import DIMENSIONS, Strategy, is_active

WEIGHTS = {
    "source": 6.0, "tune_mode": 2.0, "learning_rate": 3.0, "head_init": 2.0, "norm_policy": 2.0,
    "truncation": 2.0, "resolution_scale": 2.0, "freeze_depth": 2.0, "crop": 2.0, "mix": 1.5, "phases": 1.5,
    "transfer_depth": 3.0,
}  # fmt: skip
"""Of differences in a dimension, over its whole range; the others weigh 1."""
UNLIKE = 100.0
AMONG = 3
"""So many of the nearest may stand for a strategy."""
RATES = 2.0
"""Decades of a learning rate that count as its whole range."""


class Nearest:
    """Finds the nearest of some strategies.

    Args:
        known: Strategies to choose from.
    """

    def __init__(self, known: Sequence[Strategy]) -> None:
        self._known = known
        self._names = list(DIMENSIONS)
        self._codes: dict[tuple[str, object], float] = {}
        self._kinds = np.array([DIMENSIONS[name].kind == "categorical" for name in self._names])
        self._weights = np.array([WEIGHTS.get(name, 1.0) for name in self._names])
        self._points, self._active = map(np.stack, zip(*(self._point(one) for one in known), strict=True))
        self._closed = np.array([one.tune_mode == CLOSED_FORM for one in known])
        self._exact = {one.key(): number for number, one in reversed(list(enumerate(known)))}

    def find(self, strategy: Strategy, met: Collection[int] = ()) -> tuple[int, float]:
        """Its number, and how far it is: 0 for the same one, about 2 for one important dimension.

        Of the nearest few one that was not `met` is preferred: two strategies that differ do not end alike.
        """
        if (number := self._exact.get(strategy.key())) is not None:
            return number, 0.0
        distances = self.distances(strategy)
        nearest = [int(at) for at in np.argsort(distances, kind="stable")[:AMONG] if distances[at] < UNLIKE]
        number = next((at for at in nearest if at not in met), nearest[0])
        return number, float(distances[number])

    def distances(self, strategy: Strategy) -> np.ndarray:
        """To every known one."""
        point, active = self._point(strategy)
        apart = np.where(self._kinds, self._points != point, np.minimum(1.0, np.abs(self._points - point)))
        # A dimension that only one of them has is told by that which switches it on.
        found: np.ndarray = (apart * (self._active & active)) @ self._weights
        # What is solved stands for nothing that is trained.
        return found + UNLIKE * (self._closed != (strategy.tune_mode == CLOSED_FORM))

    def _point(self, strategy: Strategy) -> tuple[np.ndarray, np.ndarray]:
        values = strategy.model_dump()
        active = np.array([is_active(name, values) for name in self._names])
        return np.array([self._place(name, values[name]) for name in self._names]), active

    def _place(self, name: str, value: object) -> float:
        dimension = DIMENSIONS[name]
        if dimension.kind == "categorical":
            return self._codes.setdefault((name, value), float(len(self._codes)))
        assert isinstance(value, int | float)
        if name == "learning_rate":
            return math.log10(value) / RATES
        low, high = dimension.low, dimension.high
        if dimension.log:
            return math.log(max(value, low) / low) / math.log(high / low)
        return (value - low) / (high - low)
