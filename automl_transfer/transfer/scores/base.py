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
    """Features by their principal axes, those along which nothing varies left out.

    Attributes:
        squares: (r,) float64, descending: sums of squares along the axes, over all images.
    """

    squares: Tensor
    _rows: Tensor
    _vectors: Tensor | None

    @classmethod
    def of(cls, x: Tensor) -> Spectrum:
        """Of float64 (n, F), by the smaller of X'X and XX'."""
        wide = x.shape[1] > x.shape[0]
        squares, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
        squares, vectors = squares.flip(0), vectors.flip(1)
        kept = squares > squares[0].clamp_min(0.0) * 1e-12
        squares, vectors = squares[kept], vectors[:, kept]
        return cls(squares, vectors * squares.sqrt(), None) if wide else cls(squares, x, vectors)

    def images(self, most: int) -> Tensor:
        """(n, k) the images along the first axes, at most so many."""
        return self._rows[:, :most] if self._vectors is None else self._rows @ self._vectors[:, :most]

    def summed(self, sums: Callable[[Tensor], Tensor]) -> Tensor:
        """(C, r) linear combinations of images along all axes: `sums` takes (n, K) rows to (C, K)."""
        return sums(self._rows) if self._vectors is None else sums(self._rows) @ self._vectors


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
    def centred(self) -> Tensor:
        """(n, F) float64 features without their mean."""
        x = self.features.double()
        return x - x.mean(0)

    @functools.cached_property
    def spectrum(self) -> Spectrum:
        """Of the centred features, by one decomposition that scores share."""
        return Spectrum.of(self.centred)

    def class_sums(self, values: Tensor) -> Tensor:
        """(C, K) sums of (n, K) values over the images of each class."""
        sums = torch.zeros(self.classes, values.shape[1], dtype=values.dtype)
        return sums.index_add_(0, self.labels, values)

    def class_means(self, values: Tensor) -> Tensor:
        """(C, K) means of (n, K) values over the images of each class; 0 where a class has none."""
        return self.class_sums(values) / self.sizes.clamp_min(1.0)[:, None]


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
