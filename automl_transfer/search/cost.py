"""What a strategy's training takes: by its multiply-adds, and by what the trials of this study took.

With no trials a prediction is the strategy's multiply-adds over a rate. Each trial corrects that: the
logarithm of what it took over what was expected is a linear function of a few properties, by least squares
that are held at zero (Bayesian linear regression, Bishop 2006, section 3.3). So few trials move the level,
which all share, and more of them what is special about images of other sizes, other cuts, a body that moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from automl_transfer.domain.dimensions import ADDING_MODES, CLOSED_FORM, EIGHTHS
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.strategy import Strategy
from automl_transfer.transfer.select import select_groups

BACK = 3.0
"""A step over a forward pass of the same groups: the way back is twice as long."""
BACK_ADDING = 2.0
"""Where the weights themselves stay, half of the way back is left out."""
NOISE = 0.25
"""Standard deviation of the logarithm of what equal trainings take."""
LEVEL, SPREAD = 2.0, 0.5
"""The same of what all are off together, and of what one property adds."""

KEPT = 500
"""Trainings that are remembered, the newest: a machine, and what else it does, may change."""

Sizes = Callable[[str], Sequence[float]]
"""Multiply-adds of one image of the task in a source's network, up to and including each group."""


class Cost:
    """Predicts seconds.

    Args:
        train, validation: Images of these splits.
        horizon: Of a trial.
        sizes: Of the sources.
        rate: Multiply-adds a second that are expected before anything was measured.
    """

    def __init__(self, train: int, validation: int, horizon: Horizon, sizes: Sizes, rate: float) -> None:
        self._train, self._validation, self._horizon = train, validation, horizon
        self._sizes, self._rate = sizes, rate
        self._known: dict[int, tuple[list[float], float]] = {}
        self._weights: npt.NDArray[np.float64] | None = None

    def at_pace(self, source: str, seconds: float) -> None:
        """What a forward pass of one image through a whole source takes here, where that was measured."""
        if seconds > 0.0:
            self._rate = self._sizes(source)[-1] / seconds
            self._weights = None

    def learn(self, trial: int, strategy: Strategy, seconds: float) -> None:
        """What a whole training took, or would take; later news of the same trial replace earlier ones."""
        if seconds > 0.0:
            self._known[trial] = self._properties(strategy), math.log(seconds / self.multiply_adds(strategy))
            self._weights = None
            if len(self._known) > KEPT:
                del self._known[next(iter(self._known))]

    def seconds(self, strategy: Strategy) -> float:
        """Of a whole training."""
        if not self._known:
            return self.expected(strategy)
        if self._weights is None:
            self._weights = self._fit()
        return self.expected(strategy) * math.exp(float(np.dot(self._properties(strategy), self._weights)))

    def expected(self, strategy: Strategy) -> float:
        """The same by multiply-adds alone."""
        return self.multiply_adds(strategy) / self._rate

    def multiply_adds(self, strategy: Strategy) -> float:
        """Of a whole training. What is frozen is passed once, unless each pass sees other pixels."""
        sizes = self._sizes(strategy.source)
        at = (0.0, *sizes)
        chosen = select_groups(strategy, len(sizes), pretrained=strategy.pretrained)
        below, whole = at[chosen.frozen], at[chosen.kept]
        above = whole - below
        views = strategy.views if strategy.augmentation != "none" else 1
        passed_once = views * self._train + self._validation
        # Crops may be smaller than the images that are judged.
        shown = strategy.active().get("train_scale", 1.0) ** 2
        seen = shown * self._horizon.images(self._train, strategy.batch)
        judged = self._horizon.epochs * self._validation
        if strategy.tune_mode == CLOSED_FORM:
            found = passed_once * whole
        elif _draws(strategy):
            tried = BACK_ADDING * strategy.adversarial_steps * whole if strategy.adversarial > 0.0 else 0.0
            found = seen * (below + _back(strategy) * above + tried) + judged * whole
        else:
            found = passed_once * below + seen * _back(strategy) * above + judged * above
        return max(1.0, found * strategy.resolution_scale**2)

    def _properties(self, strategy: Strategy) -> list[float]:
        at = (0.0, *self._sizes(strategy.source))
        chosen = select_groups(strategy, len(at) - 1, pretrained=strategy.pretrained)
        trains = strategy.tune_mode != CLOSED_FORM
        frozen = at[chosen.frozen] / at[chosen.kept]
        return [
            1.0,
            2.0 * math.log(strategy.resolution_scale * strategy.active().get("train_scale", 1.0)),
            math.log(strategy.truncation / EIGHTHS),
            1.0 - frozen,
            float(_draws(strategy)),
            math.log(strategy.batch / 32) if trains else 0.0,
            float(_back(strategy) == BACK_ADDING),
            float(trains and strategy.phases != "one"),
            float(not strategy.pretrained),
            float(not trains),
        ]

    def _fit(self) -> npt.NDArray[np.float64]:
        x = np.array([properties for properties, _ in self._known.values()])
        y = np.array([each for _, each in self._known.values()]) + math.log(self._rate)
        held = np.full(x.shape[1], (NOISE / SPREAD) ** 2)
        held[0] = (NOISE / LEVEL) ** 2
        return np.linalg.solve(x.T @ x + np.diag(held), x.T @ y)


def _back(strategy: Strategy) -> float:
    return BACK_ADDING if strategy.tune_mode in (*ADDING_MODES, "norm", "bias") else BACK


def _draws(strategy: Strategy) -> bool:
    """Whether each pass sees other pixels of the training images."""
    if strategy.tune_mode == CLOSED_FORM:
        return False
    drawn = strategy.crop < 1.0 or strategy.mirror or strategy.distort != "none" or strategy.erasing > 0.0
    return drawn or strategy.input_noise > 0.0 or strategy.adversarial > 0.0
