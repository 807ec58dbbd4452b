"""The contract of a preparation, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from automl_transfer.domain.strategy import Strategy
from automl_transfer.transfer.freeze import TransferModel
from automl_transfer.transfer.head_input import Reader
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.select import Selection
from automl_transfer.transfer.views import Views

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
        rows: Of the training split. No other image may be looked at, but for the next ones.
        normalise: From pixels to the network's input.
        generator: Of what is drawn.
        unlabelled: Rows that have no label, and are in no split.
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
    unlabelled: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    fingerprint: str = ""
    keep: Keep = field(default_factory=KeepsNothing)

    @property
    def seen(self) -> np.ndarray:
        """Sorted rows of all images that may be looked at."""
        return np.union1d(self.rows, self.unlabelled)


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
