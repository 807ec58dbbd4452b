"""What the trained part of a model takes: pixels, or the activations of its frozen prefix."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from automl_transfer.data.task import LoadedTask
from automl_transfer.transfer.features import batch_for, forward_batches, pixel_elements, read_pixels
from automl_transfer.transfer.freeze import TransferModel
from automl_transfer.transfer.pixels import Normaliser

MOST_BYTES = 256 * 2**20
"""Activations of a frozen prefix are kept in memory up to this size, else computed each time."""


class Inputs(Protocol):
    """Rows of a task as input of group `start` (the number of groups for the head).

    `read` may run in another thread; `prepare` runs where the model runs.
    """

    start: int
    in_memory: bool
    elements: int
    """Activations of the largest layer above, an image."""

    def read(self, rows: np.ndarray) -> Tensor:
        """The rows, on the CPU."""

    def prepare(self, x: Tensor) -> Tensor:
        """The rows on the device, as input of group `start`."""


class PixelInputs:
    """Stored pixels; the frozen prefix runs without gradients, in evaluation mode."""

    in_memory = False

    def __init__(self, images: np.ndarray, normalise: Normaliser, model: TransferModel, prefix: int) -> None:
        self._images = images
        self._normalise = normalise
        self._model = model
        self.start = prefix
        self.elements = pixel_elements(*images.shape[1:3])

    def read(self, rows: np.ndarray) -> Tensor:
        """uint8 (B, H, W, C)."""
        return read_pixels(self._images, rows)

    def prepare(self, x: Tensor) -> Tensor:
        """Normalised pixels, or the prefix's activation."""
        activation = self._normalise(x)
        if self.start:
            with torch.no_grad():
                for group in self._model.groups[: self.start]:
                    activation = group(activation)
        return activation


class StoredInputs:
    """The frozen prefix's activations of all rows that are needed, computed once.

    Where everything but the head is frozen, pooled features are stored.
    """

    in_memory = True

    def __init__(self, pixels: PixelInputs, indices: np.ndarray, model: TransferModel, rows: int) -> None:
        self.start = pixels.start
        whole = self.start == len(model.groups)

        def run(x: Tensor) -> Tensor:
            activation = pixels.prepare(x)
            return model.head.pool(activation) if whole else activation

        self._device = next(model.parameters()).device
        self._values = forward_batches(pixels.read, run, indices, batch_for(pixels.elements, self._device))
        self.elements = min(pixels.elements, math.prod(self._values.shape[1:]))
        self._position = np.full(rows, -1, dtype=np.int64)
        self._position[indices] = np.arange(len(indices))

    def read(self, rows: np.ndarray) -> Tensor:
        """(B, ...) activations."""
        return self._values[torch.from_numpy(self._position[rows])]

    def prepare(self, x: Tensor) -> Tensor:
        """The same on the device, maps laid out channels last (picking rows loses that)."""
        x = x.to(self._device, non_blocking=True)
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def inputs_for(
    model: TransferModel, task: LoadedTask, normalise: Normaliser, prefix: int, indices: np.ndarray
) -> Inputs:
    """Stored activations of the frozen prefix where they fit in memory, else pixels.

    Args:
        model: Its leading groups make the activations.
        task: The images.
        normalise: From pixels to the network's input.
        prefix: Number of frozen leading groups.
        indices: All rows that will be asked for.
    """
    pixels = PixelInputs(task.images, normalise, model, prefix)
    if prefix == 0 or len(indices) == 0:
        return pixels
    with torch.no_grad():
        model.eval()
        sample = pixels.prepare(pixels.read(indices[:1]))
        if prefix == len(model.groups):
            sample = model.head.pool(sample)
    size = math.prod(sample.shape[1:]) * sample.element_size() * len(indices)
    return StoredInputs(pixels, indices, model, len(task.images)) if size <= MOST_BYTES else pixels
