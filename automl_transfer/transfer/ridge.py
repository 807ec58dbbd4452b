"""Closed-form ridge regression on one-hot labels, judged by leave-one-out.

With X (n, F) standardised features, Y (n, C) centred one-hot labels and penalty P,
W = (X'X + P I)^-1 X'Y and the leave-one-out prediction of row i is y_i - (y_i - yhat_i) / (1 - h_ii),
h the diagonal of the hat matrix, intercept included (Allen 1974's PRESS). One eigendecomposition, of
X'X or of XX', whichever is smaller, serves every penalty.

The penalty is P = lambda * F: with standardised features and weights of prior variance 1 / F, lambda
is the ratio of noise to signal, and means the same for any number of features and of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LAMBDAS: tuple[float, ...] = tuple(float(value) for value in np.logspace(-4, 2, 13))
"""The grid on which a profile chooses lambda."""

_STD_FLOOR = 1e-3
_CHUNK = 4096


@dataclass(frozen=True)
class RidgeScore:
    """How one penalty does by leave-one-out: accuracy, and cross-entropy after calibration (nats)."""

    ridge_lambda: float
    accuracy: float
    nll: float
    beta: float


class Ridge:
    """The decomposition of one feature matrix, from which every penalty is cheap.

    Args:
        features: (n, F) of any float type.
        labels: (n,) int64 in [0, classes).
        classes: Number of classes C; some may be absent.
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        if features.dim() != 2 or len(features) != len(labels) or len(features) < 2:
            raise ValueError(
                "ridge needs (n, F) features and n >= 2 labels, "
                f"got {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        self.labels = labels
        self.mean, self.scale = standardisation(features)
        x = features.to(torch.float64, copy=True).sub_(self.mean).div_(self.scale)
        self.n, self.features = x.shape
        targets = torch.nn.functional.one_hot(labels, classes).double()
        self.prior = targets.mean(0)
        y = targets - self.prior
        self.primal = self.features <= self.n
        if self.primal:
            values, vectors = torch.linalg.eigh(x.T @ x)
            self._basis = x @ vectors  # (n, F)
        else:
            values, self._basis = torch.linalg.eigh(x @ x.T)  # (n, n)
        self._values = values.clamp_min(0.0)
        self._targets = y
        self._projected = self._basis.T @ y

    def _gain(self, ridge_lambda: float) -> Tensor:
        inverse: Tensor = 1.0 / (self._values + ridge_lambda * self.features)
        return inverse if self.primal else inverse * self._values

    def leave_one_out(self, ridge_lambda: float) -> Tensor:
        """(n, C) predictions of each row by the model fitted without it, as class frequencies.

        Exact for the given standardisation.
        """
        gain = self._gain(ridge_lambda)
        fitted = self._basis @ (gain[:, None] * self._projected)
        blocks = self._basis.split(_CHUNK // 4)
        leverage = torch.cat([block.square() @ gain for block in blocks]) + 1.0 / self.n
        residual = (self._targets - fitted) / (1.0 - leverage).clamp_min(1e-9)[:, None]
        predicted: Tensor = self.prior + self._targets - residual
        return predicted

    def best(self, lambdas: Sequence[float] = LAMBDAS) -> RidgeScore:
        """The lambda with the least calibrated leave-one-out cross-entropy, which ties less than accuracy."""
        return min((self.score(value) for value in lambdas), key=lambda score: score.nll)

    def score(self, ridge_lambda: float) -> RidgeScore:
        """Leave-one-out accuracy and calibrated cross-entropy of one lambda."""
        predictions = self.leave_one_out(ridge_lambda)
        accuracy = float((predictions.argmax(1) == self.labels).double().mean())
        beta = calibrate(predictions, self.labels)
        nll = float(torch.nn.functional.cross_entropy(beta * predictions, self.labels))
        return RidgeScore(float(ridge_lambda), accuracy, nll, beta)


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale (F,) of each feature, in float64, over chunks of rows.

    A feature that hardly varies on these rows is not blown up: its scale is at least a thousandth of
    the mean one.
    """
    n = len(features)
    total = torch.zeros(features.shape[1], dtype=torch.float64)
    for start in range(0, n, _CHUNK):
        total += features[start : start + _CHUNK].double().sum(0)
    mean = total / n
    square = torch.zeros_like(total)
    for start in range(0, n, _CHUNK):
        square += (features[start : start + _CHUNK].double() - mean).square().sum(0)
    return mean, floored((square / n).sqrt())


def floored(std: Tensor) -> Tensor:
    """Standard deviations (F,), none below a thousandth of their mean; ones where nothing varies."""
    floor = _STD_FLOOR * float(std.mean())
    return std.clamp_min(floor) if floor > 0 else torch.ones_like(std)


def fold(weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Move a standardisation of the features into the linear layer that follows it."""
    folded = weight / scale
    return folded, bias - folded @ mean


def calibrate(predictions: Tensor, labels: Tensor) -> float:
    """The inverse temperature beta at which softmax(beta * predictions) has the least cross-entropy.

    Temperature scaling (Guo et al. 2017) by Newton's method; the loss is convex in beta. Labels are
    smoothed by 1 / (n + 2) (after Platt 1999), so that separable data do not ask for beta = infinity.

    Args:
        predictions: (n, C), for rows the model was not fitted on.
        labels: (n,).
    """
    z = predictions.double() - predictions.double().mean(1, keepdim=True)
    n = len(z)
    spread = float(z.std(correction=0))
    if not np.isfinite(spread) or spread < 1e-12:
        return 1.0
    z = z / spread
    smooth = 1.0 / (n + 2)
    # Centred rows: the uniform part of the smoothed target contributes nothing.
    target = (1.0 - smooth) * float(z.gather(1, labels[:, None]).mean())
    low, high, beta = 0.0, 1e3, 1.0
    for _ in range(60):
        p = torch.softmax(beta * z, 1)
        expected = (p * z).sum(1)
        slope = float(expected.mean()) - target
        curvature = float(((p * z.square()).sum(1) - expected.square()).mean())
        low, high = (low, beta) if slope > 0 else (beta, high)
        step = beta - slope / curvature if curvature > 1e-12 else high
        following = step if low < step < high else 0.5 * (low + high)
        if abs(following - beta) < 1e-6 * max(beta, 1.0):
            beta = following
            break
        beta = following
    return max(beta, 1e-3) / spread
