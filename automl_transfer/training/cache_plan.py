"""Which part of a frozen prefix to keep: seconds of computation saved against seconds of reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automl_transfer.errors import SourceError
from automl_transfer.models.heads import TargetModel
from automl_transfer.models.network import MOST_RUN, Backbone, evaluating

CPU_RATE, ACCELERATOR_RATE = 3e10, 2e12
"""Multiply-adds a second of frozen groups.

Two cores of an EPYC (AVX-512) gave 3.7e10 at 32 pixels and 5.2e10 at 128 (`benchmarks/limits.py`). The
accelerator's rate is a guess.
"""
BANDWIDTH = 2e9
"""Bytes a second of rows picked from a mapped file that the system still has in memory.

There 5.6e9 for rows of 2,560 bytes and 1.6e10 for 40,960; each run also compares the checksums of all rows
once, at 4.2e9.
"""
DTYPES = ("float32", "float16")
"""Types to store in, the first that fits: half the bytes cost rounding (`tests/training/test_float16.py`)."""


@torch.no_grad()
def choose_cut(
    model: TargetModel,
    images: Tensor,
    prefix: int,
    rows: int,
    passes: float,
    holds: Callable[[int], bool],
    dtypes: Sequence[str] = DTYPES,
) -> tuple[int, str]:
    """The number of leading groups whose output should be stored, 0 for none, and the type to store it in.

    The same model, numbers and cache give the same answer, whatever else the machine does: costs are
    counted, not measured.

    Args:
        model: In evaluation mode.
        images: One normalised image (1, C, H, W).
        prefix: Number of frozen leading groups.
        rows: Images, each view of one counted.
        passes: How often each is needed, on average.
        holds: Whether the cache may keep so many bytes.
        dtypes: Of stored values: the first that fits.
    """
    rate = CPU_RATE if images.device.type == "cpu" else ACCELERATOR_RATE
    best, most = (0, dtypes[0]), 0.0
    spent = 0.0
    x, below = images, None
    for cut in range(1, prefix + 1):
        with multiply_adds(model) as counted:
            x, below = model.run(x, cut, cut - 1, below)
        spent += counted[0]
        width = math.prod(x.shape[1:]) + (0 if below is None else below.shape[1])
        sizes = {dtype: rows * width * np.dtype(dtype).itemsize for dtype in dtypes}
        gains = {
            dtype: rows * (passes - 1) * spent / rate - passes * size / BANDWIDTH
            for dtype, size in sizes.items()
        }
        if max(gains.values()) <= most:
            continue
        fitting = next((dtype for dtype in dtypes if holds(sizes[dtype])), None)
        if fitting is not None and gains[fitting] > most:
            best, most = (cut, fitting), gains[fitting]
    return best


@contextmanager
def multiply_adds(model: nn.Module) -> Iterator[list[float]]:
    """Counts the multiply-adds of convolutions and linear layers that run meanwhile."""
    counted = [0.0]

    def count(layer: nn.Module, inputs: Any, output: Any) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        assert isinstance(output, Tensor)
        each = weight[0].numel() if isinstance(layer, nn.Conv2d) else weight.shape[1]
        counted[0] += output.numel() * each

    hooks = [
        layer.register_forward_hook(count)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def rate_of(device: torch.device) -> float:
    """Multiply-adds a second that a device is expected to do; the processor's is that of two threads."""
    return CPU_RATE * torch.get_num_threads() / 2 if device.type == "cpu" else ACCELERATOR_RATE


@torch.no_grad()
def multiply_adds_by_group(backbone: Backbone, side: int) -> tuple[float, ...]:
    """Multiply-adds of one image of so many pixels a side, up to and including each group.

    Images too large or too small to be tried are counted at another size, by their area.
    """
    device = next(backbone.parameters()).device
    for tried in (min(side, MOST_RUN), backbone.resolution):
        found: list[float] = []
        x = torch.zeros(1, backbone.in_channels, tried, tried, device=device)
        try:
            with evaluating(backbone), multiply_adds(backbone) as counted:
                for group in backbone.groups:
                    x = group(x)
                    found.append(counted[0])
        except (RuntimeError, SourceError):
            continue
        return tuple(each * (side / tried) ** 2 for each in found)
    raise SourceError(f"a network must take images of its own size ({backbone.resolution} pixels)")
