"""Arrays as a task: the same statistics as decoded files have, without copies of the images."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from automl_transfer.data.in_memory import task_in_memory


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_exact_and_take_less_memory_than_the_images(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4000, 32, 32, channels), np.uint8)
    labels = np.arange(4000, dtype=np.int64) % 2
    tracemalloc.start()
    details = task_in_memory(images, labels, ("a", "b"), held_out=0.2, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes
    shown = images[details.loaded.indices["train"]] / 255.0
    assert details.loaded.task.channel_mean == pytest.approx(shown.mean(axis=(0, 1, 2)))
    assert details.loaded.task.channel_std == pytest.approx(shown.std(axis=(0, 1, 2)))
