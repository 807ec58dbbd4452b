"""Closed-form ridge at one penalty, by Cholesky factors: ten times cheaper than every penalty at once.

The same model as `transfer.ridge`. Where there are more rows than features, only sums over rows are kept
(the normal equations), so that any number of images can be added in parts, in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from automl_transfer.transfer.ridge import calibrate, floored, fold

_CHUNK = 1024


class NormalEquations:
    """Sums over rows, from which a ridge head follows: X'X, X'Y and the means, in float64.

    Rows are shifted by the mean of the first part, so that nothing cancels.

    Args:
        classes: Number of classes C.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self.n = 0
        self._shift = self._sum = self._gram = self._cross = self._counts = torch.empty(0)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take (b, F) features and their (b,) labels in."""
        if self.n == 0:
            size = features.shape[1]
            self._shift = features.double().mean(0)
            self._sum = torch.zeros(size, dtype=torch.float64)
            self._gram = torch.zeros(size, size, dtype=torch.float64)
            self._cross = torch.zeros(size, self._classes, dtype=torch.float64)
            self._counts = torch.zeros(self._classes, dtype=torch.float64)
        for rows, part in chunks(features, labels):
            x = rows.double().sub_(self._shift)
            self._sum += x.sum(0)
            self._gram.addmm_(x.T, x)
            self._cross.addmm_(x.T, torch.nn.functional.one_hot(part, self._classes).double())
            self._counts += torch.bincount(part, minlength=self._classes)
        self.n += len(labels)

    def head(self, ridge_lambda: float, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (C, F) and bias (C,) of a linear layer on raw features, giving calibrated logits.

        Args:
            ridge_lambda: The penalty is this times the number of features.
            features: Rows among those that were added; their leave-one-out predictions calibrate.
            labels: Of these rows.
        """
        centre = self._sum / self.n
        gram = torch.addr(self._gram, centre, centre, alpha=-self.n)
        scale = floored((gram.diagonal() / self.n).clamp_min(0.0).sqrt())
        prior = self._counts / self.n
        gram /= torch.outer(scale, scale)
        gram.diagonal().add_(ridge_lambda * len(scale))
        cross = (self._cross - torch.outer(centre, self._counts)) / scale[:, None]
        factor = torch.linalg.cholesky(gram)
        weights = torch.cholesky_solve(cross, factor)  # (F, C), for standardised features
        mean = self._shift + centre
        parts = []
        for rows, part in chunks(features, labels):
            x = (rows.double() - mean) / scale
            leverage = torch.linalg.solve_triangular(factor, x.T, upper=False).square().sum(0) + 1.0 / self.n
            target = torch.nn.functional.one_hot(part, self._classes).double()
            residual = (target - prior - x @ weights) / (1.0 - leverage).clamp_min(1e-9)[:, None]
            parts.append(target - residual)
        beta = calibrate(torch.cat(parts), labels)
        return fold(beta * weights.T, beta * prior, mean, scale)


def ridge_head(features: Tensor, labels: Tensor, classes: int, ridge_lambda: float) -> tuple[Tensor, Tensor]:
    """Weight (C, F) and bias (C,) of the calibrated ridge head of (n, F) features, n >= 2."""
    if features.shape[1] > len(features):
        return _dual(features, labels, classes, ridge_lambda)
    sums = NormalEquations(classes)
    sums.add(features, labels)
    return sums.head(ridge_lambda, features, labels)


def _dual(features: Tensor, labels: Tensor, classes: int, ridge_lambda: float) -> tuple[Tensor, Tensor]:
    n, size = features.shape
    x = features.double()
    mean = x.mean(0)
    x -= mean
    scale = floored((x.square().mean(0)).sqrt())
    x /= scale
    targets = torch.nn.functional.one_hot(labels, classes).double()
    prior = targets.mean(0)
    penalty = ridge_lambda * size
    kernel = x @ x.T
    kernel.diagonal().add_(penalty)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
    dual = inverse @ (targets - prior)
    # The hat matrix is I - penalty * inverse, intercept apart.
    unexplained = (penalty * inverse.diagonal() - 1.0 / n).clamp_min(1e-9)
    beta = calibrate(targets - penalty * dual / unexplained[:, None], labels)
    return fold(beta * (x.T @ dual).T, beta * prior, mean, scale)


def chunks(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows in parts that fit in a processor's caches."""
    parts: zip[tuple[Tensor, Tensor]] = zip(
        torch.split(features, _CHUNK), torch.split(labels, _CHUNK), strict=True
    )
    return parts
