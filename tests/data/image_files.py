"""Images and folders of images, made for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec


def noise(seed: int, side: int = 24, channels: int = 3) -> Image.Image:
    """An image that no other seed has."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def make_folder(root: Path, counts: dict[str, int], *, side: int = 24, channels: int = 3) -> Path:
    """`counts[name]` PNG images in each folder `name` ("cat" or "train/cat")."""
    seed = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            noise(seed, side, channels).save(root / name / f"{number:03d}.png")
            seed += 1
    return root


def load(dataset: Path | str, cache: Path, **spec: Any) -> LoadedTask:
    """Load with a cache of the test's own."""
    return load_task(TaskSpec(dataset=str(dataset), **spec), cache_root=cache)
