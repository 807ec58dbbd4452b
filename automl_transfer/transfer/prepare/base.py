"""The contract of a preparation, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from automl_transfer.data.unlabelled import NO_UNLABELLED
from automl_transfer.domain.strategy import Strategy
from automl_transfer.transfer.freeze import TransferModel
from automl_transfer.transfer.heads import Reader
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.select import Selection
from automl_transfer.transfer.views import Images, Views

Values = npt.NDArray[Any]


class Keep(Protocol):
    """Where results that took time are kept for whoever asks again: an `ActivationCache`, for instance."""

    def get(
        self, key: Mapping[str, Any], shape: tuple[int, int], dtype: str, fill: Callable[[Values], None]
    ) -> Values | None:
        """The array of this key, made by `fill` where there is none yet; None where it cannot be kept."""


class KeepsNothing:
    """Keeps nothing: what is asked for is made every time."""

    def get(
        self, key: Mapping[str, Any], shape: tuple[int, int], dtype: str, fill: Callable[[Values], None]
    ) -> Values | None:
        """None."""
        return None


@dataclass(frozen=True)
class Subject:
    """What is prepared, and with what.

    Attributes:
        model: In evaluation mode, its body initialised, its head not yet; changed in place.
        images: All views of the task's images.
        rows: Of the training split: no other image of these may be looked at.
        normalise: From pixels to the network's input.
        generator: Of what is drawn.
        unlabelled: Gives uint8 (m, H, W, C) images that have no label; may decode them first.
        fingerprint: Of the task.
        keep: Where a result may be kept.
    """

    model: TransferModel
    strategy: Strategy
    selection: Selection
    images: Views
    rows: np.ndarray
    normalise: Normaliser
    generator: torch.Generator
    unlabelled: Callable[[], Values] = NO_UNLABELLED.load
    fingerprint: str = ""
    keep: Keep = field(default_factory=KeepsNothing)

    def seen(self) -> tuple[Images, np.ndarray]:
        """All images that may be looked at: an array, and the numbers in it."""
        others = self.unlabelled()
        if not len(others):
            return self.images, self.rows
        first = self.images.shape[0]
        return _Stacked(self.images, others), np.concatenate([self.rows, first + np.arange(len(others))])


class _Stacked:
    """Two arrays of images as one, the second behind the first."""

    def __init__(self, first: Images, second: Images) -> None:
        self._parts = first, second

    @property
    def shape(self) -> tuple[int, ...]:
        first, second = self._parts
        return (first.shape[0] + second.shape[0], *first.shape[1:])

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        first, second = self._parts
        here = rows < first.shape[0]
        found = np.empty((len(rows), *first.shape[1:]), np.uint8)
        found[here] = first[rows[here]]
        found[~here] = second[rows[~here] - first.shape[0]]
        return found


class Basis(Protocol):
    """Other coordinates of the features under a head, from which it is initialised: an affine map of them."""

    def reader(self, read: Reader) -> Reader:
        """Reads in this basis what `read` reads."""

    def fold(self, linear: nn.Linear) -> None:
        """Turn a layer on features in this basis into the one on features that gives the same, in place."""


@dataclass(frozen=True)
class Reconstructions:
    """What a network that was prepared by reconstruction makes of a few images.

    Attributes:
        images: uint8 (3, n, H, W, C): as they are, as the network saw them, as it reconstructs them.
        before, after: Mean squared error on some images, in units of the network's input: of the untouched
            encoder under a trained decoder, and in the end.
    """

    images: npt.NDArray[np.uint8]
    before: float
    after: float


@dataclass(frozen=True)
class Prepared:
    """What a preparation did.

    Attributes:
        changed: Whether the model's groups give other numbers now.
        basis: Finds the basis that the head is initialised in, from its features of all images.
        reconstructions: To be shown.
    """

    changed: bool = False
    basis: Callable[[Tensor], Basis] | None = None
    reconstructions: Reconstructions | None = None


Prepare = Callable[[Subject], "Prepared | bool"]
"""Prepares a model in place; what it did, or just whether it changed anything.

The same subject gives the same weights. A preparation that is interrupted (`aborting.check_abort`) leaves
nothing behind, and is made again.
"""


def nothing(subject: Subject) -> bool:
    """Leave everything as it is."""
    return False
