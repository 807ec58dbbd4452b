"""Forward passes over stored images, without gradients."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from automl_transfer.aborting import check_abort
from automl_transfer.errors import OutOfMemoryError, TrialDataError
from automl_transfer.transfer.allocator import keep_freed_memory
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.views import Images

MOST_IN_BATCH = 256
LEAST_IN_BATCH = 8
BATCH_ELEMENTS = 2**21
"""Activations of one layer that a batch may have on a CPU: caches hold no more.

Larger batches are slower there and cost memory: EfficientNet-Lite0 on 2 cores gave 1,583 images/s of 64
pixels in batches of 64 and 888 in batches of 256 (`benchmarks/batches.py`).
"""

_MEMORY_MESSAGES = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "MemoryError")
"""The last one in what another device of a crew says: the error's kind and its text."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the host or on a device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MEMORY_MESSAGES)


def give_back_memory(device: torch.device) -> None:
    """Free what a failed step has left behind; whoever calls holds none of its tensors any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def read_pixels(images: Images, rows: np.ndarray) -> Tensor:
    """uint8 (B, H, W, C) rows of a (memory-mapped) array, in the order given.

    Raises:
        TrialDataError: They cannot be read.
    """
    try:
        return torch.from_numpy(np.ascontiguousarray(images[rows]))
    except (OSError, IndexError) as error:
        raise TrialDataError(f"images must be readable while training, got {error}") from error


def batch_for(elements: int, device: torch.device | str) -> int:
    """Images that go well through a model at once, whose largest layer has so many activations an image.

    On other devices than a CPU the most: running out of memory halves it.
    """
    if torch.device(device).type != "cpu":
        return MOST_IN_BATCH
    return min(MOST_IN_BATCH, max(LEAST_IN_BATCH, BATCH_ELEMENTS // max(1, elements)))


def pixel_elements(size: Sequence[int], scale: float = 1.0) -> int:
    """Activations of a usual network's first layer: 32 channels at half the (scaled) height and width."""
    return int(8 * size[0] * size[1] * scale**2)


@torch.no_grad()
def forward_batches(
    read: Callable[[np.ndarray], Tensor],
    function: Callable[[Tensor], Tensor],
    indices: np.ndarray,
    batch: int,
    into: np.ndarray | None = None,
) -> Tensor:
    """`function(read(rows))` over batches of indices, joined along the rows, on the CPU.

    Out of memory halves the batch. With `into`, results are written there (and cast to its type).

    Raises:
        OutOfMemoryError: Not even a batch of one fits.
        Aborted: That was asked for; asked before every batch.
    """
    keep_freed_memory()
    found = None if into is None else torch.from_numpy(into)
    start = 0
    while start < len(indices):
        check_abort()
        rows = indices[start : start + batch]
        try:
            part = function(read(rows)).cpu()
            if found is None:  # one array from the start: joining parts would need twice the memory
                found = part.new_empty((len(indices), *part.shape[1:]))
            found[start : start + len(rows)] = part
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batch <= 1:
                raise OutOfMemoryError(
                    "a forward pass must fit in memory for one image, it did not: "
                    "choose a smaller source or a lower resolution"
                ) from error
            batch = -(-min(batch, len(rows)) // 2)
            continue
        start += len(rows)
    if found is None:
        raise ValueError("a forward pass needs at least one image, got none")
    return found


def forward_rows(
    function: Callable[[Tensor], Tensor],
    images: Images,
    indices: np.ndarray,
    normalise: Normaliser,
    batch: int | None = None,
    into: np.ndarray | None = None,
) -> Tensor:
    """Apply `function` to normalised batches of images (N, H, W, C); see `forward_batches`."""
    return forward_batches(
        lambda rows: read_pixels(images, rows),
        lambda pixels: function(normalise(pixels)),
        indices,
        batch or batch_for(pixel_elements(images.shape[1:3]), normalise.device),
        into,
    )
