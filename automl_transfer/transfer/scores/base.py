"""What scores see of a source at one cut, and how all of them are asked."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from automl_transfer.domain import scores
from automl_transfer.errors import UserError
from automl_transfer.transfer.counting import ALIKE, Counting

log = logging.getLogger(__name__)

Score = Callable[["Seen"], float]
"""More is better. A number, or `NoScore` with the reason."""


class NoScore(Exception):  # noqa: N818  (an answer, not an error)
    """A score says nothing about these features; the text says why."""


@dataclass(frozen=True)
class Spectrum:
    """Centred features by their principal axes, those without any variance left out.

    Attributes:
        squares: (r,) float64, descending: sums of squares along the axes, over all images.
        images: (n, r) float64: the images in these coordinates.
    """

    squares: Tensor
    images: Tensor


@dataclass(frozen=True)
class Seen:
    """The pooled activations of a task's training images at one cut of a source, with their labels.

    Attributes:
        features: (n, F) of any float type, finite; n >= 2.
        labels: (n,) int64 in [0, classes).
        classes: C; some may have no image here.
        counts: What each image counts, and which are left out together.
        solved: Leave-one-out accuracy of the ridge head on these features, where it is known already.
    """

    features: Tensor
    labels: Tensor
    classes: int
    counts: Counting = ALIKE
    solved: float | None = None

    @functools.cached_property
    def sizes(self) -> Tensor:
        """(C,) float64 images of each class."""
        return torch.bincount(self.labels, minlength=self.classes).double()

    @functools.cached_property
    def spectrum(self) -> Spectrum:
        """Of all features, by one decomposition that scores share."""
        x = self.features.double()
        return spectrum_of(x - x.mean(0))

    def class_means(self, values: Tensor) -> Tensor:
        """(C, K) means of (n, K) values of the images of each class; 0 where a class has none."""
        sums = torch.zeros(self.classes, values.shape[1], dtype=values.dtype)
        sums.index_add_(0, self.labels, values)
        return sums / self.sizes.clamp_min(1.0)[:, None]


def spectrum_of(x: Tensor) -> Spectrum:
    """Of float64 (n, F), by the smaller of X'X and XX'."""
    wide = x.shape[1] > x.shape[0]
    squares, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    squares, vectors = squares.flip(0), vectors.flip(1)
    kept = squares > squares[0].clamp_min(0.0) * 1e-12
    squares, vectors = squares[kept], vectors[:, kept]
    return Spectrum(squares, vectors * squares.sqrt() if wide else x @ vectors)


def scored(
    seen: Seen, names: Sequence[str] | None = None, unscored: dict[str, str] | None = None
) -> dict[str, float]:
    """What the scores of these names (by default all) say; those that say nothing are left out.

    Args:
        seen: The features.
        names: Of scores.
        unscored: Told why a score was left out.

    Raises:
        ConfigurationError: There is no score of a given name.
    """
    found = {}
    for name in scores.names() if names is None else names:
        try:
            value = float(scores.get(name)(seen))
            if not math.isfinite(value):
                raise NoScore(f"a score must be finite, got {value}")
            found[name] = value
        except NoScore as reason:
            _leave_out(name, str(reason), unscored)
        except UserError:
            if names is not None:
                raise
            _leave_out(name, "its plugin is broken", unscored)
        # Another package's code, which must not end a search that can do without it.
        except Exception as error:
            if name in scores.SCORES:
                raise
            _leave_out(name, f"its plugin raised {type(error).__name__}: {error}", unscored)
    return found


def _leave_out(name: str, reason: str, unscored: dict[str, str] | None) -> None:
    if unscored is None or name not in unscored:
        log.debug("the score %s is left out: %s", name, reason)
    if unscored is not None:
        unscored.setdefault(name, reason[:500])
