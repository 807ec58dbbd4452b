"""Whitening: the head begins in a basis in which the features under it are uncorrelated, of unit variance.

Standardised features are rotated to their principal components, each is divided by its standard deviation,
and the rotation is undone (ZCA, Bell and Sejnowski 1997). The covariance S is shrunk towards a multiple of
the identity, (1 - a) S + a m I with m its mean eigenvalue, as far as the images are too few for it (Ledoit
and Wolf 2004). No label is used. What is linear folds into the head, so that a model is what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from automl_transfer.errors import DataError
from automl_transfer.transfer.heads import MOST_VALUES, HeadInput, Reader, thin
from automl_transfer.transfer.prepare.base import Basis, Prepared, Subject
from automl_transfer.transfer.ridge import fold, standardisation
from automl_transfer.transfer.views import NO_VIEWS, Images, Views


@dataclass(frozen=True)
class Whitening:
    """x to z = A (x - mean) / scale with the symmetric A = rest I + V diag(gains - rest) V'.

    Attributes:
        mean, scale: float64 (F,).
        directions: V, float64 (F, r), orthonormal.
        gains: float64 (r,), of these directions.
        rest: Gain of all others.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    gains: Tensor
    rest: float

    def __call__(self, features: Tensor) -> Tensor:
        """(n, F) features in this basis."""
        return self._turned((features.double() - self.mean) / self.scale).to(features.dtype)

    def reader(self, read: Reader) -> Reader:
        """Reads in this basis what `read` reads."""
        return lambda rows: self(read(rows))

    def fold(self, linear: nn.Linear) -> None:
        """Turn a layer on z into the one on x that gives the same, in place."""
        # Features, and what was found of them, lie on the CPU, whatever device the layer is on.
        weight, bias = linear.weight.detach().cpu().double(), linear.bias.detach().cpu().double()
        # A is symmetric, so rows of weights turn as rows of features do.
        folded = fold(self._turned(weight), bias, self.mean, self.scale)
        with torch.no_grad():
            linear.weight.copy_(folded[0])
            linear.bias.copy_(folded[1])

    def _turned(self, rows: Tensor) -> Tensor:
        along = rows @ self.directions
        return self.rest * rows + (along * (self.gains - self.rest)) @ self.directions.T


def whitening(features: Tensor, shrinkage: float | None = None) -> Whitening:
    """The basis of (n, F) features; by default shrunk as Ledoit and Wolf say.

    With shrinkage 0 and more images than features, the covariance becomes the identity.
    """
    mean, scale = standardisation(features)
    x = (features.double() - mean) / scale
    n, size = x.shape
    if size <= n:
        variances, directions = torch.linalg.eigh(x.T @ x / n)
        kept = variances > 1e-9 * variances.max()
        variances, directions = variances[kept], directions[:, kept]
    else:
        variances, vectors = torch.linalg.eigh(x @ x.T / n)
        kept = variances > 1e-9 * variances.max()
        variances = variances[kept]
        directions = x.T @ vectors[:, kept] / (n * variances).sqrt()
    level = float(variances.sum()) / size
    share = ledoit_wolf(x, variances) if shrinkage is None else shrinkage
    gains = ((1.0 - share) * variances + share * level).rsqrt()
    # Where nothing varies there is nothing to divide by.
    rest = (share * level) ** -0.5 if share * level > 0.0 else 1.0
    return Whitening(mean, scale, directions, gains, rest)


def ledoit_wolf(x: Tensor, variances: Tensor) -> float:
    """How far to shrink the covariance of centred (n, F) rows, whose eigenvalues are known, in [0, 1].

    With <A, B> = tr(A B') / F, S the covariance and m = <S, I>: the share is b^2 / d^2, where
    d^2 = |S - m I|^2 and b^2 is the mean of |x x' - S|^2 over rows, divided by n, at most d^2 (Ledoit and
    Wolf 2004, section 3).
    """
    n, size = x.shape
    level = float(variances.sum()) / size
    square = float(variances.square().sum())
    distance = square / size - level**2
    spread = (float(x.square().sum(1).square().mean()) - square) / (size * n)
    return 1.0 if distance <= 0.0 else min(1.0, max(0.0, spread / distance))


def whiten(subject: Subject) -> Prepared:
    """See the module."""
    return Prepared(basis=whitening)


def initialise_in(
    find: Callable[[Tensor], Basis],
    asked: HeadInput,
    read: Reader,
    unlabelled: Images,
    initialise: Callable[[Reader], None],
) -> None:
    """Initialise a head in a basis of its features, and fold that into it.

    Args:
        find: Gives the basis of features.
        asked: What the head reads: its model's head is the one.
        read: Reads these features of training rows.
        unlabelled: Images that count for the basis as well.
        initialise: Fills the head's linear layer, from what it reads.

    Raises:
        DataError: Features are not finite.
    """
    linear = asked.model.head.linear
    most = max(2, MOST_VALUES // linear.in_features // asked.images.count // 2)
    features = read(thin(asked.rows, most))
    if count := unlabelled.shape[0]:
        others = replace(asked, images=Views(unlabelled, NO_VIEWS), rows=np.arange(count))
        features = torch.cat([features, others.compute(thin(others.rows, most))])
    if not bool(torch.isfinite(features).all()):
        raise DataError(
            "features must be finite to be whitened, got NaN or infinity: choose a smaller weight_scale, "
            "another rest_init or another preparation"
        )
    basis = find(features)
    initialise(basis.reader(read))
    basis.fold(linear)
