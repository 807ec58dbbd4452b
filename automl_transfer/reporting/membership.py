"""Whether a model gives away which images it was trained on."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pydantic import Field

from automl_transfer.domain.strict_json import Frozen

POINTS = 50
FALSE_ALARMS = 0.01
Losses = npt.NDArray[np.float64]


class Membership(Frozen):
    """How well a threshold on the loss tells training images from others (Yeom et al. 2018, section 3).

    Attributes:
        auc: Chance that a training image has a smaller loss than another one; .5 tells nothing.
        interval: 95%, of DeLong et al. 1988.
        found: Share of the training images that are recognised where 1% of the others are taken for such
            (Carlini et al. 2022, section 3).
        members: Training images.
        others: Images that the weights were not fitted to.
        curve: (share of others taken for members, share of members found), from (0, 0) to (1, 1).
    """

    auc: float = Field(ge=0.0, le=1.0)
    interval: tuple[float, float]
    found: float = Field(ge=0.0, le=1.0)
    members: int = Field(ge=1)
    others: int = Field(ge=1)
    curve: tuple[tuple[float, float], ...]


def membership(members: Losses, others: Losses) -> Membership:
    """The attack on the losses of training images and of others, at least one of each.

    >>> found = membership(np.array([0.1, 0.2]), np.array([0.2, 0.9]))
    >>> found.auc, found.found
    (0.875, 0.5)
    """
    m, n = len(members), len(others)
    low, high = np.sort(members), np.sort(others)
    # Of each image, the share of the other kind that is on its right side; half of what is equal.
    above = 1.0 - 0.5 * (np.searchsorted(high, members, "left") + np.searchsorted(high, members, "right")) / n
    below = 0.5 * (np.searchsorted(low, others, "left") + np.searchsorted(low, others, "right")) / m
    auc = float(above.mean())
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (above, below) if len(part) > 1)
    half = 1.96 * math.sqrt(variance)
    return Membership(
        auc=auc,
        interval=(max(0.0, auc - half), min(1.0, auc + half)),
        found=float(np.searchsorted(low, _threshold(high, FALSE_ALARMS), "left") / m),
        members=m,
        others=n,
        curve=_curve(low, high),
    )


def _threshold(high: Losses, share: float) -> float:
    """The loss below which at most this share of the others lies."""
    return float(high[int(share * len(high))])


def _curve(low: Losses, high: Losses) -> tuple[tuple[float, float], ...]:
    shares = np.linspace(0.0, 1.0, POINTS + 1)[:-1]
    thresholds = [_threshold(high, float(share)) for share in shares]
    points = {(0.0, 0.0), (1.0, 1.0)}
    for each in thresholds:
        false = np.searchsorted(high, each, "left") / len(high)
        points.add((round(float(false), 5), round(float(np.searchsorted(low, each, "left") / len(low)), 5)))
    return tuple(sorted(points))
