"""Images of a task that have no label: decoded when a preparation asks for them, and by nobody else."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from automl_transfer.data.base import Inventory, Pixels
from automl_transfer.data.cache import CachedImages, open_images
from automl_transfer.data.decode_all import Progress
from automl_transfer.domain.pixel_range import EIGHT_BITS
from automl_transfer.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unlabelled:
    """Images without a label.

    Attributes:
        listed: How many there are, readable or not.
        load: uint8 (n, H, W, C), of the task's resolution and channels, without those that cannot be read.
    """

    listed: int
    load: Callable[[], Pixels]


NO_UNLABELLED = Unlabelled(0, lambda: np.zeros((0, 1, 1, 1), np.uint8))


def unlabelled_of(
    inventory: Inventory, cached: CachedImages, cache_root: Path, progress: Progress | None
) -> Unlabelled:
    """What a dataset has without labels, scaled as its other images are."""
    if inventory.unlabelled is None:
        return NO_UNLABELLED
    found = inventory.unlabelled.expecting(cached.pixel_range or EIGHT_BITS)

    @functools.cache
    def load() -> Pixels:
        resolution, channels = cached.images.shape[1], cached.images.shape[3]
        try:
            opened = open_images(
                found, channels=channels, resolution=resolution, cache_root=cache_root, progress=progress
            )
        except DataError as error:  # the labelled ones are no worse for it
            log.warning("images without a label are not used: %s", error)
            return np.zeros((0, *cached.images.shape[1:]), np.uint8)
        if opened.bad:
            log.warning("%d images without a label cannot be read: left out", len(opened.bad))
        return opened.images

    return Unlabelled(len(found.keys), load)
