"""The contract of a preparation, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from automl_transfer.domain.strategy import Strategy
from automl_transfer.transfer.freeze import TransferModel
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.select import Selection
from automl_transfer.transfer.views import Views


@dataclass(frozen=True)
class Subject:
    """What is prepared, and with what.

    Attributes:
        model: In evaluation mode, its body initialised, its head not yet; changed in place.
        images: All views of the task's images.
        rows: Of the training split: no other image may be looked at.
        normalise: From pixels to the network's input.
        generator: Of what is drawn.
    """

    model: TransferModel
    strategy: Strategy
    selection: Selection
    images: Views
    rows: np.ndarray
    normalise: Normaliser
    generator: torch.Generator


Prepare = Callable[[Subject], bool]
"""Prepares a model in place; whether it changed anything. The same subject gives the same weights."""


def nothing(subject: Subject) -> bool:
    """Leave everything as it is."""
    return False
