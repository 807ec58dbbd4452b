"""Probabilities that mean what they say: one temperature, fitted on images that no training saw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.floating]
Probabilities = npt.NDArray[np.float64]

LOWEST, HIGHEST = 1e-3, 1e3


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature, and the mean NLL in nats of the same images before and after."""

    temperature: float
    nll_before: float
    nll_after: float
    images: int


def softmax(logits: Logits, temperature: float = 1.0) -> Probabilities:
    """(n, classes) probabilities of (n, classes) logits, each divided by the temperature."""
    wide = logits.astype(np.float64)
    # A network's output may be anything: whoever needs finite numbers looks at the logits.
    with np.errstate(invalid="ignore"):
        wide = np.exp((wide - wide.max(axis=1, keepdims=True)) / temperature)
        result: Probabilities = wide / wide.sum(axis=1, keepdims=True)
    return result


def log_likelihood(logits: Logits, labels: npt.NDArray[np.int64], temperature: float = 1.0) -> Probabilities:
    """(n,) log probabilities of the labels, exact where a probability would be rounded to 0."""
    wide = logits.astype(np.float64) / temperature
    wide -= wide.max(axis=1, keepdims=True)
    result: Probabilities = wide[np.arange(len(labels)), labels] - np.log(np.exp(wide).sum(axis=1))
    return result


def calibrated_nll(logits: Logits, labels: npt.NDArray[np.int64]) -> float | None:
    """Mean NLL in nats at the temperature that `fit_temperature` finds on the same images.

    None where logits are infinite.
    """
    if not np.isfinite(logits).all():
        return None
    return fit_temperature(logits, labels).nll_after


def fit_temperature(logits: Logits, labels: npt.NDArray[np.int64]) -> Temperature:
    """The temperature T that makes softmax(logits / T) most likely (Guo et al. 2017, section 4.2).

    Where every image is right, the likelihood has no maximum, and probabilities would all become 1. So a
    share of 1 / (n + 2) of each image counts for the best class that is not its own: as if one image more
    had been wrong, the way it most likely goes wrong (the targets of Platt 1999, section 2.2).

    Args:
        logits: (n, classes), classes >= 2, n >= 1, finite.
        labels: (n,) positions of the true classes.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))
    wide = logits.astype(np.float64)
    rivals = wide.copy()
    rivals[rows, labels] = -np.inf
    share = 1.0 / (len(labels) + 2.0)
    target = (1.0 - share) * wide[rows, labels] + share * rivals.max(axis=1)
    top = wide.max(axis=1, keepdims=True)
    centred, target = wide - top, target - top[:, 0]

    def loss(log_inverse: float) -> float:
        inverse = math.exp(log_inverse)
        return float(np.mean(np.log(np.exp(inverse * centred).sum(axis=1)) - inverse * target))

    # Convex in 1 / T, and so with one minimum in its logarithm.
    found = minimize_scalar(
        loss, bounds=(-math.log(HIGHEST), -math.log(LOWEST)), method="bounded", options={"xatol": 1e-5}
    )
    temperature = math.exp(-float(found.x))
    return Temperature(
        temperature,
        -float(log_likelihood(logits, labels).mean()),
        -float(log_likelihood(logits, labels, temperature).mean()),
        len(labels),
    )
