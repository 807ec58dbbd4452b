"""How far two strategies are from each other, by the dimensions that are known to matter."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.strategy import DIMENSIONS, Strategy, is_active

WEIGHTS = {
    "source": 6.0, "tune_mode": 2.0, "learning_rate": 3.0, "head_init": 2.0, "norm_policy": 2.0,
    "truncation": 2.0, "resolution_scale": 2.0, "freeze_depth": 2.0, "crop": 2.0, "mix": 1.5, "phases": 1.5,
    "transfer_depth": 3.0,
}  # fmt: skip
"""Of differences in a dimension, over its whole range; the others weigh 1."""
UNLIKE = 100.0
"""Added between what is solved and what is trained: neither says anything of the other."""
RATES = 2.0
"""Decades of a learning rate that count as its whole range."""

Floats = npt.NDArray[np.float64]
_NAMES = tuple(DIMENSIONS)
_KINDS = np.array([DIMENSIONS[name].kind == "categorical" for name in _NAMES])
_WEIGHTS = np.array([WEIGHTS.get(name, 1.0) for name in _NAMES])


class Likeness:
    """Distances to some strategies: 0 for the same one, about 2 for one important dimension.

    Args:
        known: The strategies; more may be added.
    """

    def __init__(self, known: Iterable[Strategy] = ()) -> None:
        self._codes: dict[tuple[str, object], float] = {}
        self._points: list[Floats] = []
        self._active: list[npt.NDArray[np.bool_]] = []
        self._closed: list[bool] = []
        self._stacked: tuple[Floats, npt.NDArray[np.bool_]] | None = None
        for one in known:
            self.add(one)

    def add(self, strategy: Strategy) -> None:
        """Know one more."""
        point, active = self._point(strategy)
        self._points.append(point)
        self._active.append(active)
        self._closed.append(strategy.tune_mode == CLOSED_FORM)
        self._stacked = None

    def forget(self, count: int) -> None:
        """Know the first so many no more."""
        del self._points[:count], self._active[:count], self._closed[:count]
        self._stacked = None

    def distances(self, strategy: Strategy) -> Floats:
        """To every known one, in the order in which they were added; at least one must be."""
        if self._stacked is None:
            self._stacked = np.stack(self._points), np.stack(self._active)
        points, known = self._stacked
        point, active = self._point(strategy)
        apart = np.where(_KINDS, points != point, np.minimum(1.0, np.abs(points - point)))
        # A dimension that only one of them has is told by that which switches it on.
        found: Floats = (apart * (known & active)) @ _WEIGHTS
        found += UNLIKE * (np.array(self._closed) != (strategy.tune_mode == CLOSED_FORM))
        return found

    def _point(self, strategy: Strategy) -> tuple[Floats, npt.NDArray[np.bool_]]:
        values = strategy.model_dump()
        active = np.array([is_active(name, values) for name in _NAMES])
        return np.array([self._place(name, values[name]) for name in _NAMES]), active

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
