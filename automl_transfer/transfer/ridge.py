"""Closed-form ridge regression on one-hot labels, judged by leave-one-out.

With X (n, F) standardised features, Y (n, C) centred one-hot labels and penalty P,
W = (X'X + P I)^-1 X'Y and the leave-one-out prediction of row i is y_i - (y_i - yhat_i) / (1 - h_ii),
h the diagonal of the hat matrix, intercept included (Allen 1974's PRESS). One eigendecomposition, of
X'X or of XX', whichever is smaller, serves every penalty. Rows of weight w are multiplied by sqrt(w), which
is as if each were there w times; a block b of rows that belong together is left out as one: its residuals are
(I - H_bb)^-1 (y_b - yhat_b).

The penalty is P = lambda * F: with standardised features and weights of prior variance 1 / F, lambda
is the ratio of noise to signal, and means the same for any number of features and of images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from automl_transfer.transfer.counting import ALIKE, Counting

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
        counts: What each row counts, and which are left out together.
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int, counts: Counting = ALIKE) -> None:
        if features.dim() != 2 or len(features) != len(labels) or len(features) < 2:
            raise ValueError(
                "ridge needs (n, F) features and n >= 2 labels, "
                f"got {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        x = standardised(features, counts.weights)
        if x.shape[1] <= x.shape[0]:
            values, vectors = torch.linalg.eigh(x.T @ x)
            self._set(x.shape[1], labels, classes, counts, values, x @ vectors, primal=True)
        else:
            self._set(x.shape[1], labels, classes, counts, *torch.linalg.eigh(x @ x.T), primal=False)

    @classmethod
    def of_kernel(
        cls, kernel: Tensor, size: int, labels: Tensor, classes: int, counts: Counting = ALIKE
    ) -> Ridge:
        """The same from float64 (n, n) X X' alone, of `size` features `standardised` with the weights.

        The kernel of several feature matrices side by side is the sum of theirs.
        """
        found = cls.__new__(cls)
        found._set(size, labels, classes, counts, *torch.linalg.eigh(kernel), primal=False)
        return found

    def _set(
        self,
        size: int,
        labels: Tensor,
        classes: int,
        counts: Counting,
        values: Tensor,
        basis: Tensor,
        *,
        primal: bool,
    ) -> None:
        self.n, self.features, self.labels, self.primal = len(labels), size, labels, primal
        targets = torch.nn.functional.one_hot(labels, classes).double()
        self._counts = counts
        self._total = counts.total(self.n)
        self._root = None if counts.weights is None else counts.weights.sqrt()[:, None]
        self.prior = mean_of(targets, counts.weights)
        self._values = values.clamp_min(0.0)
        self._basis = basis  # (n, F) or (n, n)
        self._targets = targets - self.prior
        self._projected = basis.T @ rooted(self._targets, counts.weights)

    def leave_one_out(self, lambdas: Sequence[float]) -> Tensor:
        """(L, n, C) predictions of each row by the model fitted without it, for L penalties.

        As class frequencies. Exact for the given standardisation.
        """
        penalties = torch.tensor(lambdas, dtype=torch.float64)[:, None] * self.features
        gain = 1.0 / (self._values + penalties)  # (L, F) or (L, n)
        if not self.primal:
            gain *= self._values
        fitted = self._basis @ (gain[:, :, None] * self._projected)
        if self._root is not None:
            fitted /= self._root
        residual = self._targets - fitted
        if self._counts.blocks is None:
            blocks = torch.split(self._basis, _CHUNK // 4)
            share = (1.0 if self._root is None else self._root[:, 0].square()) / self._total
            leverage = torch.cat([block.square() @ gain.T for block in blocks]).T + share
            residual = residual / (1.0 - leverage).clamp_min(1e-9)[:, :, None]
        else:
            self._leave_blocks_out(residual, gain)
        predicted: Tensor = self.prior + self._targets - residual
        return predicted

    def _leave_blocks_out(self, residual: Tensor, gain: Tensor) -> None:
        """Change (L, n, C) residuals, in place, to those of models fitted without each row's block."""
        for rows in self._counts.left_out(self.n, _CHUNK):
            basis, root = self._basis[rows], None if self._root is None else self._root[rows]
            for left, each in zip(residual, gain, strict=True):
                left[rows] = left_out(left[rows], unexplained_by(basis * each, basis), self._total, root)

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
            weights = self._counts.weights
            accuracy = mean_of((predictions.argmax(2) == self.labels).double(), weights, 1)
            betas = calibrations(predictions, self.labels, weights)
            # Classes before rows, as cross_entropy wants them.
            logits = (betas[:, None, None] * predictions).transpose(1, 2)
            labels = self.labels.expand(len(some), -1)
            nll = mean_of(torch.nn.functional.cross_entropy(logits, labels, reduction="none"), weights, 1)
            rows = zip(some, accuracy.tolist(), nll.tolist(), betas.tolist(), strict=True)
            found += [RidgeScore(float(value), right, loss, beta) for value, right, loss, beta in rows]
        return found


def mean_of(values: Tensor, weights: Tensor | None, dim: int = 0) -> Tensor:
    """The mean along a dimension of n rows of (n,) weights."""
    if weights is None:
        return values.mean(dim)
    shaped = weights.view([-1 if each == dim else 1 for each in range(values.dim())])
    return (values * shaped).sum(dim) / weights.sum()


def rooted(rows: Tensor, weights: Tensor | None) -> Tensor:
    """(n, K) rows, each times the square root of its weight."""
    return rows if weights is None else rows * weights.sqrt()[:, None]


def unexplained_by(rows: Tensor, others: Tensor) -> Tensor:
    """(b, m, m) of I - rows others'."""
    return torch.eye(rows.shape[1], dtype=torch.float64) - rows @ others.mT


def left_out(
    residuals: Tensor, unexplained: Tensor, total: float, root: Tensor | None, views: int = 1
) -> Tensor:
    """(b, m / views, C) residuals of every `views`-th row of each block, of the model fitted without it.

    Args:
        residuals: (b, m, C) what the fit with all rows leaves of blocks of m rows.
        unexplained: (b, m, m) blocks of I - H, intercept apart; H of rows times the root of their weight.
        total: What all rows of the fit count together.
        root: (b, m, 1) square roots of the weights; None where each is 1.
        views: Rows of one image, which lie side by side.
    """
    if root is None:
        unexplained = unexplained - 1.0 / total
    else:
        unexplained, residuals = unexplained - root @ root.mT / total, root * residuals
    values, vectors = torch.linalg.eigh(unexplained)
    along = vectors.mT @ residuals / values.clamp_min(1e-9)[:, :, None]
    found: Tensor = vectors[:, ::views] @ along
    return found if root is None else found / root[:, ::views]


def standardised(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """float64 (n, F) features of mean 0 and standard deviation 1, see `standardisation`; then `rooted`."""
    mean, scale = standardisation(features, weights)
    x = features.to(torch.float64, copy=True).sub_(mean).div_(scale)
    return x if weights is None else x.mul_(weights.sqrt()[:, None])


def standardisation(features: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and scale (F,) of each feature, in float64, over chunks of rows, which may have (n,) weights.

    A feature that hardly varies on these rows is not blown up: its scale is at least a thousandth of
    the mean one.
    """
    n = float(len(features)) if weights is None else float(weights.sum())

    def summed(of: Callable[[Tensor], Tensor]) -> Tensor:
        total = torch.zeros(features.shape[1], dtype=torch.float64)
        for start in range(0, len(features), _CHUNK):
            part = of(features[start : start + _CHUNK].double())
            total += part.sum(0) if weights is None else weights[start : start + _CHUNK] @ part
        return total

    mean = summed(lambda rows: rows) / n
    square = summed(lambda rows: (rows - mean).square())
    return mean, floored((square / n).sqrt())


def floored(std: Tensor) -> Tensor:
    """Standard deviations (F,), none below a thousandth of their mean; ones where nothing varies."""
    floor = _STD_FLOOR * float(std.mean())
    return std.clamp_min(floor) if floor > 0 else torch.ones_like(std)


def fold(weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Move a standardisation of the features into the linear layer that follows it."""
    folded = weight / scale
    return folded, bias - folded @ mean


def calibrate(predictions: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """The inverse temperature beta at which softmax(beta * predictions) has the least cross-entropy.

    Temperature scaling (Guo et al. 2017) by Newton's method; the loss is convex in beta. Labels are
    smoothed by 1 / (n + 2) (after Platt 1999), so that separable data do not ask for beta = infinity.

    Args:
        predictions: (n, C), for rows the model was not fitted on.
        labels: (n,).
        weights: (n,) how often each row counts; their sum is n then.
    """
    return float(calibrations(predictions[None], labels, weights)[0])


def calibrations(predictions: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """`calibrate` for (L, n, C) predictions by L models at once: float64 (L,)."""
    z = predictions.double()
    z = z - z.mean(2, keepdim=True)
    spread = z.std((1, 2), correction=0)
    usable = spread.isfinite() & (spread >= 1e-12)
    spread = torch.where(usable, spread, 1.0)
    z = torch.where(usable[:, None, None], z / spread[:, None, None], 0.0)
    smooth = 1.0 / ((z.shape[1] if weights is None else float(weights.sum())) + 2)
    # Centred rows: the uniform part of the smoothed target contributes nothing.
    own = z.gather(2, labels.expand(len(z), -1)[:, :, None])
    target = (1.0 - smooth) * (own.mean((1, 2)) if weights is None else mean_of(own[:, :, 0], weights, 1))
    low, high, beta = (torch.full_like(spread, value) for value in (0.0, 1e3, 2.5))  # few end far from it
    going = usable.clone()
    for _ in range(60):
        p = torch.softmax(beta[:, None, None] * z, 2)
        weighted = p * z
        expected = weighted.sum(2)
        slope = mean_of(expected, weights, 1) - target
        curvature = mean_of((weighted * z).sum(2) - expected.square(), weights, 1)
        low, high = torch.where(slope > 0, low, beta), torch.where(slope > 0, beta, high)
        step = torch.where(curvature > 1e-12, beta - slope / curvature, high)
        following = torch.where((low < step) & (step < high), step, 0.5 * (low + high))
        near = (following - beta).abs() < 1e-6 * beta.clamp_min(1.0)
        beta = torch.where(going, following, beta)
        going &= ~near
        if not going.any():
            break
    return torch.where(usable, beta.clamp_min(1e-3) / spread, 1.0)
