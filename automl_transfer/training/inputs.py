"""What the trained part of a model takes: pixels, or the stored activations of its frozen prefix."""

from __future__ import annotations

import logging
import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from automl_transfer.data.task import LoadedTask
from automl_transfer.models.fuse import with_fused
from automl_transfer.models.heads import TargetModel
from automl_transfer.models.network import Backbone
from automl_transfer.training.activation_cache import ActivationCache, Values
from automl_transfer.training.cache_plan import DTYPES, choose_cut
from automl_transfer.transfer.drawn import Drawn
from automl_transfer.transfer.features import batch_for, forward_batches, pixel_elements, read_pixels
from automl_transfer.transfer.freeze import TransferModel
from automl_transfer.transfer.keys import rounding, rows_digest, weights_digest
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.terms.base import Rest
from automl_transfer.transfer.views import NO_VIEWS, Augment, Images, Views

LARGEST_HALF = float(np.finfo(np.float16).max)

_log = logging.getLogger(__name__)


class Inputs(Protocol):
    """Rows of a task, or numbers of `Views`, as input of group `start` (the number of groups for the head).

    `read` may run in another thread; `prepare` runs where the model runs.
    """

    start: int
    in_memory: bool
    costly: bool
    """Whether reading is work that had better be done beside a step."""
    elements: int
    """Activations of the largest layer above, an image."""
    dtype: str
    """Of the values that `prepare` starts from, where they were rounded to it."""

    def read(self, rows: np.ndarray) -> Tensor:
        """The rows, on the CPU."""

    def prepare(self, x: Tensor) -> Rest:
        """The rows on the device, as `TargetModel.features` takes them with `start`."""


class PixelInputs:
    """Stored pixels; the frozen prefix runs without gradients, in evaluation mode, its norms folded."""

    in_memory = False
    dtype = "float32"

    def __init__(self, images: Images, normalise: Normaliser, model: TransferModel, prefix: int) -> None:
        self._images = images
        self._normalise = normalise
        self._model = model
        self._fused: TargetModel | None = None
        self.costly = isinstance(images, Drawn)
        self.start = prefix
        self.elements = pixel_elements(images.shape[1:3], scale=model.resolution_scale)

    def read(self, rows: np.ndarray) -> Tensor:
        """uint8 (B, H, W, C)."""
        return read_pixels(self._images, rows)

    def prepare(self, x: Tensor) -> Rest:
        """Normalised pixels, or what follows from the prefix."""
        images = self._normalise(x)
        if self.start == 0:
            return images, None
        with torch.no_grad():
            if self._fused is None:
                self._fused = with_fused(self._model, images[:1], self.start)
            return self._fused.run(images, self.start)


class StoredInputs:
    """What follows from the frozen prefix, for all rows that are needed, from the cache.

    A stored row is the activation, maps with channels last, and then the pooled taps below it.
    """

    in_memory = True
    costly = False

    def __init__(
        self, values: Values, rows: np.ndarray, like: Rest, start: int, *, total: int, elements: int
    ) -> None:
        self.start = start
        self._values = values
        self._shape = tuple(like[0].shape[1:])
        self._device = like[0].device
        self._width = math.prod(self._shape)
        self._has_taps = like[1] is not None
        self.elements = elements
        self.dtype = str(values.dtype)
        self._position = np.full(total, -1, dtype=np.int64)
        self._position[rows] = np.arange(len(rows))

    def read(self, rows: np.ndarray) -> Tensor:
        """(B, width) stored rows."""
        return torch.from_numpy(self._values[self._position[rows]])

    def prepare(self, x: Tensor) -> Rest:
        """The activation as the next group takes it, and the taps below."""
        x = x.to(self._device, non_blocking=True).float()
        below = x[:, self._width :] if self._has_taps else None
        return unpacked(x[:, : self._width].contiguous(), self._shape), below


def packed(rest: Rest) -> Tensor:
    """(B, width) rows as they are stored."""
    x, below = rest
    flat = x.permute(0, 2, 3, 1).reshape(len(x), -1) if x.dim() == 4 else x.reshape(len(x), -1)
    return flat if below is None else torch.cat([flat, below], dim=1)


def unpacked(flat: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The activation of stored rows: maps come out channels last, without a copy."""
    if len(shape) == 3:
        channels, height, width = shape
        return flat.view(-1, height, width, channels).permute(0, 3, 1, 2)
    return flat.view(-1, *shape)


def inputs_for(
    model: TransferModel,
    task: LoadedTask,
    normalise: Normaliser,
    prefix: int,
    indices: np.ndarray,
    *,
    cache: ActivationCache,
    passes: float,
    augment: Augment = NO_VIEWS,
) -> Inputs:
    """Stored activations of (a part of) the frozen prefix where that pays, else pixels.

    Args:
        model: Its leading groups make the activations.
        task: The images.
        normalise: From pixels to the network's input.
        prefix: Number of frozen leading groups.
        indices: All rows, or numbers of views, that will be asked for.
        cache: Where activations are kept.
        passes: How often each will be asked for, on average.
        augment: How the views come about.
    """
    images = Views(task.images, augment)
    whole = PixelInputs(images, normalise, model, prefix)
    rows = np.unique(indices)
    if prefix == 0 or len(rows) == 0 or passes <= 1:
        return whole
    model.eval()
    sample = whole.read(rows[:1])
    refused: list[int] = []

    def holds(size: int) -> bool:
        if fits := cache.holds(size):
            return fits
        refused.append(size)
        return False

    with torch.no_grad():
        cut, dtype = choose_cut(model, normalise(sample), prefix, len(rows), passes, holds)
        if cut == 0:
            if refused:
                cache.tell_too_small(min(refused))
            return whole
        pixels = PixelInputs(images, normalise, model, cut)
        like = model.run(normalise(sample), cut)
        elements = min(pixels.elements, _largest_layer(model, like, cut))
    width = packed(like).shape[1]

    def fill(values: Values) -> None:
        batch = batch_for(pixels.elements, normalise.device)
        forward_batches(
            pixels.read, lambda x: _in_range(packed(pixels.prepare(x)), dtype), rows, batch, into=values
        )

    reads = [[model.head.taps - (len(model.groups) - cut), model.head.grid]]
    key = activation_key(
        model, task, normalise, cut, rows, reads=reads, scale=model.resolution_scale, augment=augment
    )
    try:
        stored = cache.get(key, (len(rows), width), dtype, fill)
    except _OutOfRangeError as error:
        _log.warning("activations of the first %d groups are not kept: %s", cut, error)
        return whole
    if stored is None:
        return whole
    if dtype != DTYPES[0]:
        _log.info("activations of the first %d groups are kept as %s: %s has no room", cut, dtype, DTYPES[0])
    found = StoredInputs(stored, rows, like, cut, total=images.shape[0], elements=elements)
    return found if cut == prefix else FromBelow(found, model, prefix)


def _largest_layer(model: TransferModel, rest: Rest, start: int) -> int:
    """Activations an image of the largest layer from group `start` on; blocks are wider within."""
    found = [rest[0][0].numel()]

    def measure(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor):
            found.append(output[0].numel())

    layers = [layer for group in list(model.groups)[start:] for layer in group.modules()]
    hooks = [layer.register_forward_hook(measure) for layer in layers]
    try:
        model.features(rest[0], start, rest[1])
    finally:
        for hook in hooks:
            hook.remove()
    return max(found)


class _OutOfRangeError(ValueError):
    """Activations that the type to store them in cannot express."""


def _in_range(values: Tensor, dtype: str) -> Tensor:
    """The values; what is not finite stays so and is found where it matters."""
    if dtype == "float16" and bool(((values.abs() > LARGEST_HALF) & values.isfinite()).any()):
        raise _OutOfRangeError(
            f"float16 must hold them, which ends at {LARGEST_HALF:g}, and larger ones came"
        )
    return values


class FromBelow:
    """Stored activations of a part of the frozen prefix; the rest of it runs without gradients."""

    in_memory = True
    costly = False

    def __init__(self, stored: StoredInputs, model: TransferModel, prefix: int) -> None:
        self._stored = stored
        self._model = model
        self._fused: TargetModel | None = None
        self.start = prefix
        self.elements = stored.elements
        self.dtype = stored.dtype

    def read(self, rows: np.ndarray) -> Tensor:
        """(B, width) stored rows."""
        return self._stored.read(rows)

    def prepare(self, x: Tensor) -> Rest:
        """What follows from the whole prefix."""
        activation, below = self._stored.prepare(x)
        with torch.no_grad():
            if self._fused is None:
                self._fused = with_fused(self._model, activation[:1], self.start, self._stored.start)
            return self._fused.run(activation, self.start, self._stored.start, below)


def activation_key(
    model: TargetModel | Backbone,
    task: LoadedTask,
    normalise: Normaliser,
    cut: int,
    rows: np.ndarray,
    *,
    reads: list[list[int]],
    scale: float,
    augment: Augment = NO_VIEWS,
) -> dict[str, Any]:
    """Everything that the values of an entry depend on, besides their number and type.

    Args:
        model: Its leading groups are run.
        task: The images.
        normalise: From pixels to the network's input.
        cut: Number of groups.
        rows: Of the task, or numbers of views, in order.
        reads: What is pooled on the way.
        scale: Images are resized by this factor.
        augment: How the views come about.
    """
    views = augment.facts()
    return {
        "weights": weights_digest(model.groups[:cut]),
        "task": task.task.fingerprint,
        "rows": rows_digest(rows),
        "cut": cut,
        "reads": reads,
        "fused": True,
        "resolution": [*task.images.shape[1:], scale],
        **rounding(normalise),
        **({} if views is None else {"views": views}),
    }
