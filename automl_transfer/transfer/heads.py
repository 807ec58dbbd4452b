"""The new head: what it reads, and its initial weights, drawn or solved from one pass over the images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import DataError
from automl_transfer.models.fuse import with_fused
from automl_transfer.models.heads import TargetModel
from automl_transfer.transfer.counting import ALIKE, Counting
from automl_transfer.transfer.features import (
    MOST_IN_BATCH,
    batch_for,
    forward_rows,
    pixel_elements,
    read_pixels,
)
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.ridge import calibrate, fold, standardisation
from automl_transfer.transfer.ridge_at import NormalEquations, ridge_head
from automl_transfer.transfer.views import Views

Reader = Callable[[np.ndarray], Tensor]
"""From rows of a task to (rows x views, F) features, those of an image's views side by side."""


@dataclass(frozen=True)
class HeadInput:
    """The features that a head is solved from.

    Attributes:
        strategy: Names the source, and what the head reads.
        model: In evaluation mode; its groups make the features.
        images: All views of the task's images.
        rows: Training rows.
        normalise: From pixels to the network's input.
    """

    strategy: Strategy
    model: TargetModel
    images: Views
    rows: np.ndarray
    normalise: Normaliser

    @property
    def detail(self) -> bool:
        """Whether the images are as large as the strategy has them, so that the network resizes nothing."""
        return self.model.resolution_scale != self.strategy.resolution_scale

    def compute(self, rows: np.ndarray, into: np.ndarray | None = None) -> Tensor:
        """One forward pass over these rows; see `forward_batches` for `into` and errors."""
        elements = pixel_elements(self.images.shape[1:3], scale=self.model.resolution_scale)
        batch = batch_for(elements, self.normalise.device)
        numbers = self.images.numbers(rows)
        return forward_rows(self._body.features, self.images, numbers, self.normalise, batch, into)

    @cached_property
    @torch.no_grad()
    def _body(self) -> TargetModel:
        sample = self.normalise(read_pixels(self.images, self.rows[:1]))
        return with_fused(self.model, sample, len(self.model.groups))


MOST_VALUES = 20_000_000
"""Most feature values (rows x features) that are computed with at a time: a ridge head takes more rows in
parts, others thin."""
MOST_KEPT = 100_000_000
"""Most feature values that lie in memory, as they were read, for a ridge head of more features than rows."""
MOST_SQUARE = 30_000_000
"""Most values of the matrix of rows x rows that is solved for a ridge head of more features than rows. In
float64 there are up to three of it at a time, of 240 MB each."""
MOST_GRAM = 150_000_000
"""Most values of that of features x features (12,247 of them), which is solved for all rows, however many. In
float64 there are up to three of it at a time, of 1.2 GB each."""

_ABSENT_LOGIT = -30.0
_NOTHING = 1e-12
"""Share of a class that rounding may leave where all of it is left out."""


def _zero(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.zeros_(weight)


def _he(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="linear", generator=generator)


def _xavier(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.xavier_uniform_(weight, generator=generator)


def solve_ncm(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strategy: Strategy,
    views: int = 1,
    counts: Counting = ALIKE,
) -> tuple[Tensor, Tensor]:
    """Nearest class mean as a linear layer, weight (C, F) and bias (C,).

    On standardised features z, logit_c = beta (z mu_c - |mu_c|^2 / 2), which orders classes by distance
    (Mensink et al. 2013); beta is calibrated on means that leave out each image, with all its views and all
    images that belong to it.
    """
    mean, scale = standardisation(features, counts.of_views(views))
    z = (features.double() - mean) / scale
    each = counts.of_views(views)
    totals = torch.bincount(labels, weights=each, minlength=classes).double()
    counted = z if each is None else z * each[:, None]
    means = torch.zeros(classes, z.shape[1], dtype=torch.float64).index_add_(0, labels, counted)
    means /= torch.where(totals > 0.0, totals, 1.0)[:, None]
    image = counted.view(-1, views, z.shape[1]).sum(1)
    z, labels = z[::views], labels[::views]
    weights = views * (torch.ones(len(z), dtype=torch.float64) if each is None else each[::views])
    scores = z @ means.T - 0.5 * means.square().sum(1)
    for images in counts.left_out(len(z), MOST_IN_BATCH):
        _score_left_out(scores, images, z, image, labels, means, totals, weights)
    present = totals > 0
    beta = calibrate(scores[:, present], (present.cumsum(0) - 1)[labels], counts.weights)
    weight, bias = fold(beta * means, -0.5 * beta * means.square().sum(1), mean, scale)
    bias[~present] = _ABSENT_LOGIT
    return weight, bias


def _score_left_out(
    scores: Tensor,
    images: Tensor,
    z: Tensor,
    image: Tensor,
    labels: Tensor,
    means: Tensor,
    totals: Tensor,
    weights: Tensor,
) -> None:
    """Change the (n, C) scores of (b, m) blocks of images, in place, to those by means without them.

    Where a block is all that a class has, the mean of all (zero) stands in.

    Args:
        scores: Of n images.
        images: Numbers of those that are left out together.
        z: (n, F) standardised features.
        image: (n, F) what each image adds to the sum of its class.
        labels: (n,) classes.
        means: (C, F) of the classes.
        totals: (C,) what the images of a class count together.
        weights: (n,) what an image counts in that.
    """
    own = labels[images]
    for place in range(images.shape[1]):
        label = own[:, place]
        same = (own == label[:, None]).double()
        left = totals[label] - (weights[images] * same).sum(1)
        nothing = left <= _NOTHING * totals[label]
        mean = totals[label][:, None] * means[label] - (image[images] * same[:, :, None]).sum(1)
        mean /= torch.where(nothing, 1.0, left)[:, None]
        mean[nothing] = 0.0
        found = (z[images] * mean[:, None]).sum(2) - 0.5 * mean.square().sum(1)[:, None]
        scores[images, label[:, None]] = found


def solve_ridge(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strategy: Strategy,
    views: int = 1,
    counts: Counting = ALIKE,
) -> tuple[Tensor, Tensor]:
    """Ridge regression with calibrated logits, weight (C, F) and bias (C,); see `transfer.ridge_at`."""
    return ridge_head(features, labels, classes, strategy.ridge_lambda, views, counts)


_DRAWN: dict[str, Callable[[Tensor, torch.Generator], None]] = {"zero": _zero, "he": _he, "xavier": _xavier}
_SOLVERS = {"ncm": solve_ncm, "ridge": solve_ridge}


@torch.no_grad()
def initialise_head(
    linear: nn.Linear,
    strategy: Strategy,
    labels: np.ndarray,
    indices: np.ndarray,
    read: Reader,
    generator: torch.Generator,
    views: int = 1,
    counts: Counting = ALIKE,
) -> None:
    """Fill a head's linear layer in place; `labels`, `indices` and `read` state the training split.

    A solved head is solved on all views of these images.

    Args:
        linear: The layer.
        strategy: Its `head_init`, and what belongs to it.
        labels: int64 (N,).
        indices: Sorted rows to solve from.
        read: Gives the features of any of these rows.
        generator: Of what is drawn.
        views: Of each image, which `read` gives side by side.
        counts: Of these rows.

    Raises:
        DataError: A solved head needs more images than there are, or features are not finite.
    """
    if strategy.head_init in _DRAWN:
        weight = torch.empty(linear.weight.shape)
        _DRAWN[strategy.head_init](weight, generator)
        linear.weight.copy_(weight)
        linear.bias.zero_()
        return
    if len(indices) < 2:
        raise DataError(f"a solved head needs at least 2 training images, got {len(indices)}")

    def read_finite(rows: np.ndarray) -> Tensor:
        found = read(rows)
        if not bool(torch.isfinite(found).all()):
            raise DataError(
                f"features must be finite to solve a {strategy.head_init} head, got NaN or infinity: "
                "choose a smaller weight_scale, another rest_init or another head_init"
            )
        return found

    size, classes = linear.in_features, linear.out_features
    most = max(2, MOST_VALUES // size // views)

    def features_of(rows: np.ndarray) -> tuple[Tensor, Tensor, Counting]:
        there = counts.at(np.searchsorted(indices, rows))
        return _read_in_parts(read_finite, rows, most), torch.from_numpy(labels[rows].repeat(views)), there

    many = strategy.head_init == "ridge" and len(indices) > most
    rows, side = len(indices) * views, math.isqrt(MOST_SQUARE)
    if many and size <= math.isqrt(MOST_GRAM) and (size <= rows or rows > side):
        order = counts.order(np.random.default_rng(len(indices)).permutation(len(indices)))
        weight, bias = _ridge_in_parts(features_of, indices[order], most, classes, strategy, views)
    else:
        # A ridge head of more features than rows is solved by a matrix of rows x rows.
        kept = max(most, min(MOST_KEPT // size, side) // views) if many else most
        features, targets, there = features_of(_thin_classes(indices, labels, kept))
        weight, bias = _SOLVERS[strategy.head_init](features, targets, classes, strategy, views, there)
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def _read_in_parts(read: Reader, rows: np.ndarray, most: int) -> Tensor:
    """What `read` gives of these rows, at most so many at once: it may need several times as much memory."""
    first = read(rows[:most])
    if len(rows) <= most:
        return first
    found = first.new_empty(len(first) // most * len(rows), first.shape[1])
    at = len(first)
    found[:at] = first
    for start in range(most, len(rows), most):
        part = read(rows[start : start + most])
        found[at : at + len(part)] = part
        at += len(part)
    return found


def _ridge_in_parts(
    features_of: Callable[[np.ndarray], tuple[Tensor, Tensor, Counting]],
    order: np.ndarray,
    most: int,
    classes: int,
    strategy: Strategy,
    views: int,
) -> tuple[Tensor, Tensor]:
    """Ridge on all rows, of which only a part is in memory at a time; calibrated on the first part."""
    sums = NormalEquations(classes)
    first: tuple[Tensor, Tensor, Counting] | None = None
    # All but the first, which is kept, are small: one more of them is in memory at a time.
    edges = [0, *range(most, len(order), max(MOST_IN_BATCH, most // 8)), len(order)]
    for start, stop in pairwise(edges):
        features, labels, counts = features_of(order[start:stop])
        first = (features, labels, counts) if first is None else first
        sums.add(features, labels, counts.of_views(views))
    assert first is not None
    return sums.head(strategy.ridge_lambda, first[0], first[1], views, first[2])


def _thin_classes(indices: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the indices, and one more of each class that would be lost."""
    kept = thin(indices, most)
    lost = np.setdiff1d(labels[indices], labels[kept])
    first = [indices[labels[indices] == label][:1] for label in lost]
    return np.sort(np.concatenate([kept, *first]))


def thin(indices: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the indices, evenly spread."""
    if len(indices) <= most:
        return indices
    return np.asarray(indices[np.linspace(0, len(indices) - 1, most).astype(np.int64)])
