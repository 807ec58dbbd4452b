"""Closed-form ridge at one penalty, by Cholesky factors: ten times cheaper than every penalty at once.

The same model as `transfer.ridge`. Where each image gives several rows (its views, side by side), all of
them are left out together, or an image's other views would tell its label; and so are images that belong
together (`transfer.counting`). Only the first row of an image calibrates: it is the image as it is. The
penalty is multiplied by the views, so that lambda means the same for any number of them. Where there are more
rows than features, only sums over rows are kept (the normal equations), so that any number of images can be
added in parts, in memory that grows with the features alone. Where there are fewer, the dual is solved, by
the inner products of rows, which are added up over parts of the features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from automl_transfer.transfer.counting import ALIKE, Counting
from automl_transfer.transfer.ridge import calibrate, floored, fold, left_out, mean_of, rooted, unexplained_by

_CHUNK = 1024
_BLOCK = 5_000_000
"""Most feature values that the dual has in float64 at a time."""


class NormalEquations:
    """Sums over rows, from which a ridge head follows: X'X, X'Y and the means, in float64.

    Rows are shifted by the mean of the first part, so that nothing cancels.

    Args:
        classes: Number of classes C.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self.n = 0.0
        self._shift = self._sum = self._gram = self._cross = self._counts = torch.empty(0)

    def add(self, features: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Take (b, F) features, their (b,) labels and what they count in."""
        if self.n == 0.0:
            size = features.shape[1]
            self._shift = features.double().mean(0)
            self._sum = torch.zeros(size, dtype=torch.float64)
            self._gram = torch.zeros(size, size, dtype=torch.float64)
            self._cross = torch.zeros(size, self._classes, dtype=torch.float64)
            self._counts = torch.zeros(self._classes, dtype=torch.float64)
        start = 0
        for rows, part in chunks(features, labels):
            x = rows.double().sub_(self._shift)
            own = None if weights is None else weights[start : start + len(part)]
            counted = x if own is None else x * own[:, None]
            self._sum += counted.sum(0)
            self._gram.addmm_(counted.T, x)
            self._cross.addmm_(counted.T, torch.nn.functional.one_hot(part, self._classes).double())
            self._counts += torch.bincount(part, weights=own, minlength=self._classes)
            start += len(part)
        self.n += float(len(labels)) if weights is None else float(weights.sum())

    def head(
        self,
        ridge_lambda: float,
        features: Tensor,
        labels: Tensor,
        views: int = 1,
        counts: Counting = ALIKE,
    ) -> tuple[Tensor, Tensor]:
        """Weight (C, F) and bias (C,) of a linear layer on raw features, giving calibrated logits.

        Args:
            ridge_lambda: The penalty is this times the number of features and of views.
            features: Rows among those that were added; their leave-one-out predictions calibrate.
            labels: Of these rows.
            views: Rows of one image, which lie side by side.
            counts: Of these images.
        """
        centre = self._sum / self.n
        gram = torch.addr(self._gram, centre, centre, alpha=-self.n)
        scale = floored((gram.diagonal() / self.n).clamp_min(0.0).sqrt())
        prior = self._counts / self.n
        for rows, own in zip(torch.split(gram, _CHUNK), torch.split(scale, _CHUNK), strict=True):
            rows /= torch.outer(own, scale)
        gram.diagonal().add_(ridge_lambda * len(scale) * views)
        cross = (self._cross - torch.outer(centre, self._counts)) / scale[:, None]
        factor = torch.linalg.cholesky(gram)
        weights = torch.cholesky_solve(cross, factor)  # (F, C), for standardised features
        mean = self._shift + centre

        counted = counts.of_views(views)

        def residuals(rows: Tensor) -> tuple[Tensor, Tensor]:
            flat = rows.flatten()
            x = (features[flat].double() - mean) / scale
            left = torch.nn.functional.one_hot(labels[flat], self._classes).double() - prior - x @ weights
            seen = rooted(x, None if counted is None else counted[flat])
            root = torch.linalg.solve_triangular(factor, seen.T, upper=False).T.reshape(*rows.shape, -1)
            return left.view(*rows.shape, -1), unexplained_by(root, root)

        beta = _calibrated(labels, self._classes, views, counts, self.n, residuals)
        return fold(beta * weights.T, beta * prior, mean, scale)


def ridge_head(
    features: Tensor,
    labels: Tensor,
    classes: int,
    ridge_lambda: float,
    views: int = 1,
    counts: Counting = ALIKE,
) -> tuple[Tensor, Tensor]:
    """Weight (C, F) and bias (C,) of the calibrated ridge head of (n, F) features, n / views >= 2 images."""
    if features.shape[1] > len(features):
        return _dual(features, labels, classes, ridge_lambda, views, counts)
    sums = NormalEquations(classes)
    sums.add(features, labels, counts.of_views(views))
    return sums.head(ridge_lambda, features, labels, views, counts)


def _dual(
    features: Tensor, labels: Tensor, classes: int, ridge_lambda: float, views: int, counts: Counting
) -> tuple[Tensor, Tensor]:
    (n, size), weights = features.shape, counts.of_views(views)
    width = max(1, _BLOCK // n)
    blocks = [slice(start, start + width) for start in range(0, size, width)]
    mean = torch.cat([mean_of(features[:, block].double(), weights) for block in blocks])

    def centred(block: slice) -> Tensor:
        return features[:, block].double() - mean[block]

    scale = floored(torch.cat([mean_of(centred(block).square(), weights) for block in blocks]).sqrt())

    def standardised(block: slice) -> Tensor:
        return rooted(centred(block).div_(scale[block]), weights)

    targets = torch.nn.functional.one_hot(labels, classes).double()
    prior = mean_of(targets, weights)
    penalty = ridge_lambda * size * views
    kernel = torch.zeros(n, n, dtype=torch.float64)
    for block in blocks:
        x = standardised(block)
        kernel.addmm_(x, x.T)
    kernel.diagonal().add_(penalty)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
    dual = inverse @ rooted(targets - prior, weights)
    left = penalty * dual
    if weights is not None:
        left /= weights.sqrt()[:, None]

    def residuals(rows: Tensor) -> tuple[Tensor, Tensor]:
        # The hat matrix is I - penalty * inverse, intercept apart.
        return left[rows], penalty * inverse[rows[:, :, None], rows[:, None, :]]

    total = float(len(labels)) if weights is None else float(weights.sum())
    beta = _calibrated(labels, classes, views, counts, total, residuals)
    weight = torch.cat([standardised(block).T @ dual for block in blocks])
    return fold(beta * weight.T, beta * prior, mean, scale)


def _calibrated(
    labels: Tensor,
    classes: int,
    views: int,
    counts: Counting,
    total: float,
    residuals: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> float:
    """The inverse temperature that suits what models say of images that they were fitted without.

    Args:
        labels: (n,) of all rows.
        classes: Number of classes C.
        views: Rows of one image.
        counts: Of the n / views images.
        total: What all rows of the fit count together.
        residuals: From (b, m) rows, blocks that are left out as one, to what the fit leaves of their targets,
            (b, m, C), and their blocks (b, m, m) of I - H, intercept apart.
    """
    firsts = labels[::views]
    predicted = torch.nn.functional.one_hot(firsts, classes).double()
    for images in counts.left_out(len(firsts), _CHUNK // views):
        rows = (images[:, :, None] * views + torch.arange(views)).flatten(1)
        left, unexplained = residuals(rows)
        root = None if counts.weights is None else counts.weights[rows // views].sqrt()[:, :, None]
        predicted[images] -= left_out(left, unexplained, total, root, views)
    return calibrate(predicted, firsts, counts.weights)


def chunks(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows in parts that fit in a processor's caches."""
    parts: zip[tuple[Tensor, Tensor]] = zip(
        torch.split(features, _CHUNK), torch.split(labels, _CHUNK), strict=True
    )
    return parts
