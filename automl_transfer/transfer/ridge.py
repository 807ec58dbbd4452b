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
_MOST_SCORES = 100_000
"""Predictions that are judged at once: few small operations instead of many, within a processor's caches."""


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
        x = standardised(features)
        if x.shape[1] <= x.shape[0]:
            values, vectors = torch.linalg.eigh(x.T @ x)
            self._set(x.shape[1], labels, classes, values, x @ vectors, primal=True)
        else:
            self._set(x.shape[1], labels, classes, *torch.linalg.eigh(x @ x.T), primal=False)

    @classmethod
    def of_kernel(cls, kernel: Tensor, size: int, labels: Tensor, classes: int) -> Ridge:
        """The same from float64 (n, n) X X' alone, of `size` features.

        The kernel of several feature matrices side by side is the sum of theirs.
        """
        found = cls.__new__(cls)
        found._set(size, labels, classes, *torch.linalg.eigh(kernel), primal=False)
        return found

    def _set(
        self, size: int, labels: Tensor, classes: int, values: Tensor, basis: Tensor, *, primal: bool
    ) -> None:
        self.n, self.features, self.labels, self.primal = len(labels), size, labels, primal
        targets = torch.nn.functional.one_hot(labels, classes).double()
        self.prior = targets.mean(0)
        self._values = values.clamp_min(0.0)
        self._basis = basis  # (n, F) or (n, n)
        self._targets = targets - self.prior
        self._projected = basis.T @ self._targets

    def leave_one_out(self, lambdas: Sequence[float]) -> Tensor:
        """(L, n, C) predictions of each row by the model fitted without it, for L penalties.

        As class frequencies. Exact for the given standardisation.
        """
        penalties = torch.tensor(lambdas, dtype=torch.float64)[:, None] * self.features
        gain = 1.0 / (self._values + penalties)  # (L, F) or (L, n)
        if not self.primal:
            gain *= self._values
        fitted = self._basis @ (gain[:, :, None] * self._projected)
        blocks = torch.split(self._basis, _CHUNK // 4)
        leverage = torch.cat([block.square() @ gain.T for block in blocks]).T + 1.0 / self.n
        residual = (self._targets - fitted) / (1.0 - leverage).clamp_min(1e-9)[:, :, None]
        predicted: Tensor = self.prior + self._targets - residual
        return predicted

    def best(self) -> RidgeScore:
        """The lambda with the least calibrated leave-one-out cross-entropy, which ties less than accuracy."""
        return min(self.scores(LAMBDAS), key=lambda score: score.nll)

    def scores(self, lambdas: Sequence[float]) -> list[RidgeScore]:
        """Leave-one-out accuracy and calibrated cross-entropy of each lambda."""
        together = max(1, _MOST_SCORES // self._targets.numel())
        found = []
        for start in range(0, len(lambdas), together):
            some = lambdas[start : start + together]
            predictions = self.leave_one_out(some)
            accuracy = (predictions.argmax(2) == self.labels).double().mean(1)
            betas = calibrations(predictions, self.labels)
            # Classes before rows, as cross_entropy wants them.
            logits = (betas[:, None, None] * predictions).transpose(1, 2)
            labels = self.labels.expand(len(some), -1)
            nll = torch.nn.functional.cross_entropy(logits, labels, reduction="none").mean(1)
            rows = zip(some, accuracy.tolist(), nll.tolist(), betas.tolist(), strict=True)
            found += [RidgeScore(float(value), right, loss, beta) for value, right, loss, beta in rows]
        return found


def standardised(features: Tensor) -> Tensor:
    """float64 (n, F) features of mean 0 and standard deviation 1, see `standardisation`."""
    mean, scale = standardisation(features)
    return features.to(torch.float64, copy=True).sub_(mean).div_(scale)


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
    return float(calibrations(predictions[None], labels)[0])


def calibrations(predictions: Tensor, labels: Tensor) -> Tensor:
    """`calibrate` for (L, n, C) predictions by L models at once: float64 (L,)."""
    z = predictions.double()
    z = z - z.mean(2, keepdim=True)
    spread = z.std((1, 2), correction=0)
    usable = spread.isfinite() & (spread >= 1e-12)
    spread = torch.where(usable, spread, 1.0)
    z = torch.where(usable[:, None, None], z / spread[:, None, None], 0.0)
    smooth = 1.0 / (z.shape[1] + 2)
    # Centred rows: the uniform part of the smoothed target contributes nothing.
    target = (1.0 - smooth) * z.gather(2, labels.expand(len(z), -1)[:, :, None]).mean((1, 2))
    low, high, beta = (torch.full_like(spread, value) for value in (0.0, 1e3, 2.5))  # few end far from it
    going = usable.clone()
    for _ in range(60):
        p = torch.softmax(beta[:, None, None] * z, 2)
        weighted = p * z
        expected = weighted.sum(2)
        slope = expected.mean(1) - target
        curvature = ((weighted * z).sum(2) - expected.square()).mean(1)
        low, high = torch.where(slope > 0, low, beta), torch.where(slope > 0, beta, high)
        step = torch.where(curvature > 1e-12, beta - slope / curvature, high)
        following = torch.where((low < step) & (step < high), step, 0.5 * (low + high))
        near = (following - beta).abs() < 1e-6 * beta.clamp_min(1.0)
        beta = torch.where(going, following, beta)
        going &= ~near
        if not going.any():
            break
    return torch.where(usable, beta.clamp_min(1e-3) / spread, 1.0)
