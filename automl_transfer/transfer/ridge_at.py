"""Closed-form ridge at one penalty, by Cholesky factors: ten times cheaper than every penalty at once.

The same model as `transfer.ridge`. Where each image gives several rows (its views, side by side), all of
them are left out together, or an image's other views would tell its label: the residuals of a group b are
(I - H_bb)^-1 (y_b - yhat_b), H the hat matrix. Only the first row of a group calibrates: it is the image
as it is. The penalty is multiplied by the views, so that lambda means the same for any number of them.
Where there are more rows than features, only sums over rows are kept (the normal equations), so that any
number of images can be added in parts, in constant memory.
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

    def head(
        self, ridge_lambda: float, features: Tensor, labels: Tensor, views: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Weight (C, F) and bias (C,) of a linear layer on raw features, giving calibrated logits.

        Args:
            ridge_lambda: The penalty is this times the number of features and of views.
            features: Rows among those that were added; their leave-one-out predictions calibrate.
            labels: Of these rows.
            views: Rows of one image, which lie side by side.
        """
        centre = self._sum / self.n
        gram = torch.addr(self._gram, centre, centre, alpha=-self.n)
        scale = floored((gram.diagonal() / self.n).clamp_min(0.0).sqrt())
        prior = self._counts / self.n
        gram /= torch.outer(scale, scale)
        gram.diagonal().add_(ridge_lambda * len(scale) * views)
        cross = (self._cross - torch.outer(centre, self._counts)) / scale[:, None]
        factor = torch.linalg.cholesky(gram)
        weights = torch.cholesky_solve(cross, factor)  # (F, C), for standardised features
        mean = self._shift + centre
        parts = []
        for rows, part in chunks(features, labels, views):
            x = (rows.double() - mean) / scale
            root = torch.linalg.solve_triangular(factor, x.T, upper=False).T.reshape(-1, views, len(scale))
            unexplained = torch.eye(views, dtype=torch.float64) - root @ root.mT - 1.0 / self.n
            target = torch.nn.functional.one_hot(part, self._classes).double()
            parts.append(_left_out(target, target - prior - x @ weights, unexplained))
        beta = calibrate(torch.cat(parts), labels[::views])
        return fold(beta * weights.T, beta * prior, mean, scale)


def ridge_head(
    features: Tensor, labels: Tensor, classes: int, ridge_lambda: float, views: int = 1
) -> tuple[Tensor, Tensor]:
    """Weight (C, F) and bias (C,) of the calibrated ridge head of (n, F) features, n / views >= 2 images."""
    if features.shape[1] > len(features):
        return _dual(features, labels, classes, ridge_lambda, views)
    sums = NormalEquations(classes)
    sums.add(features, labels)
    return sums.head(ridge_lambda, features, labels, views)


def _dual(
    features: Tensor, labels: Tensor, classes: int, ridge_lambda: float, views: int
) -> tuple[Tensor, Tensor]:
    n, size = features.shape
    x = features.double()
    mean = x.mean(0)
    x -= mean
    scale = floored((x.square().mean(0)).sqrt())
    x /= scale
    targets = torch.nn.functional.one_hot(labels, classes).double()
    prior = targets.mean(0)
    penalty = ridge_lambda * size * views
    kernel = x @ x.T
    kernel.diagonal().add_(penalty)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
    dual = inverse @ (targets - prior)
    # The hat matrix is I - penalty * inverse, intercept apart.
    places = torch.arange(n).view(-1, views)
    unexplained = penalty * inverse[places[:, :, None], places[:, None, :]] - 1.0 / n
    beta = calibrate(_left_out(targets, penalty * dual, unexplained), labels[::views])
    return fold(beta * (x.T @ dual).T, beta * prior, mean, scale)


def _left_out(targets: Tensor, residuals: Tensor, unexplained: Tensor) -> Tensor:
    """(n / views, C) predictions of each group's first row by the model fitted without the group.

    Args:
        targets: (n, C) one-hot labels.
        residuals: (n, C) what the fit leaves of them.
        unexplained: (n / views, views, views) blocks of I - H.
    """
    values, vectors = torch.linalg.eigh(unexplained)
    along = vectors.mT @ residuals.view(*unexplained.shape[:2], -1) / values.clamp_min(1e-9)[:, :, None]
    first: Tensor = (vectors[:, :1] @ along)[:, 0]
    return targets[:: unexplained.shape[1]] - first


def chunks(features: Tensor, labels: Tensor, views: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows in parts that fit in a processor's caches and split no image's views."""
    size = _CHUNK // views * views
    parts: zip[tuple[Tensor, Tensor]] = zip(
        torch.split(features, size), torch.split(labels, size), strict=True
    )
    return parts
