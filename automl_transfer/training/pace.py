"""How fast this machine passes images through a network at the moment, found on a few of them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from automl_transfer.data.task import LoadedTask
from automl_transfer.transfer.features import batch_for, forward_rows, pixel_elements
from automl_transfer.transfer.pixels import Normaliser


def seconds_an_image(
    groups: Sequence[nn.Module], task: LoadedTask, normalise: Normaliser, rows: np.ndarray
) -> float:
    """Of a forward pass at the task's own resolution: the second batch of two, the first one warms up."""

    def last(pixels: Tensor) -> Tensor:
        for group in groups:
            pixels = group(pixels)
        return pixels.flatten(1).sum(1)

    rows = rows[: batch_for(pixel_elements(task.images.shape[1:3]), normalise.device)]
    took = 0.0
    for _ in range(2):
        start = time.perf_counter()
        forward_rows(last, task.images, rows, normalise)
        took = time.perf_counter() - start
    return took / len(rows)
