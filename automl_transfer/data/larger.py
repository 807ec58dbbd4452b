"""The images of a task with more pixels than it states, as far as its files have them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from automl_transfer.data.base import Inventory, Pixels
from automl_transfer.data.cache import CachedImages, open_images
from automl_transfer.data.decode_all import Progress
from automl_transfer.data.unlabelled import Unlabelled, unlabelled_of
from automl_transfer.errors import DataError, OutputError

log = logging.getLogger(__name__)

MARGIN, LEAST_MARGIN = 1.25, 1.05
"""Side of the images that are cropped from over that of the crops, and from when on it is worth it."""
SECONDS_A_PIXEL = 25e-9
"""Of a stored pixel, rather too much: to decode it on one core."""


@dataclass(frozen=True)
class Detailed:
    """The images of a task decoded at another side.

    Attributes:
        images: uint8 (N, S, S, C): the same rows, memory-mapped from the image cache.
        enlarged: Gives the same rows with a margin of pixels, to crop from; None where there are no more.
        unlabelled: Those without a label, of the same side.
    """

    images: Pixels
    enlarged: Callable[[], Pixels | None]
    unlabelled: Unlabelled


class Larger:
    """Decodes a task's files again, at larger sides: each side once, into the cache, when it is asked for.

    Args:
        inventory: The files.
        cached: What they are at the side that the task states.
        cache_root: Folder of the cache.
        progress: Told how far decoding is.
    """

    def __init__(
        self, inventory: Inventory, cached: CachedImages, cache_root: Path, progress: Progress | None = None
    ) -> None:
        self._inventory, self._cached = inventory, cached
        self._cache_root, self._progress = cache_root, progress
        self._found: dict[int, Detailed] = {}
        self._margins: dict[int, Pixels | None] = {}
        self._stored = int(np.median(cached.sizes.min(axis=1)))

    @property
    def stored_size(self) -> tuple[float, float]:
        """Median width and height of the files, in pixels."""
        height, width = np.median(self._cached.sizes, axis=0)
        return float(width), float(height)

    def has(self, side: int) -> bool:
        """Whether half of the files have about as many pixels on their shorter sides."""
        return LEAST_MARGIN * self._stored >= side

    def at(self, side: int) -> Detailed:
        """All images at this side; files with fewer pixels are enlarged.

        Raises:
            OutputError: The cache folder cannot be written, or the disk has too little space.
            DataError: The files are not what they were when the task was loaded.
        """
        if side not in self._found:
            log.info("images of %s are read at %d pixels", self._inventory.name, side)
            found = self._opened(side)
            if not np.array_equal(found.rows, self._cached.rows):
                raise DataError(
                    f"the same {len(self._cached.rows):,} images of {self._inventory.name} must be readable "
                    f"at {side} pixels, got {len(found.rows):,}: files have changed; load the data again"
                )
            self._found[side] = Detailed(
                found.images,
                lambda: self.margin(side),
                unlabelled_of(self._inventory, found, self._cache_root, self._progress),
            )
        return self._found[side]

    def margin(self, side: int) -> Pixels | None:
        """The images with more pixels than this side, to crop from; None where they have no more."""
        if side not in self._margins:
            self._margins[side] = self._with_margin(side)
        return self._margins[side]

    def seconds(self, side: int) -> float:
        """About what decoding takes before `at` answers: 0 where this process has it."""
        if side in self._found:
            return 0.0
        return SECONDS_A_PIXEL * float(self._cached.sizes.prod(axis=1).sum())

    def _with_margin(self, side: int) -> Pixels | None:
        larger = min(-(-int(MARGIN * side) // 8) * 8, self._stored)
        if larger < LEAST_MARGIN * side:
            return None
        try:
            found = self._opened(larger)
        except OutputError as error:
            log.warning("crops are cut from images of %d pixels: larger ones cannot be kept: %s", side, error)
            return None
        return found.images if np.array_equal(found.rows, self._cached.rows) else None

    def _opened(self, side: int) -> CachedImages:
        return open_images(
            self._inventory,
            channels=self._cached.images.shape[3],
            resolution=side,
            cache_root=self._cache_root,
            progress=self._progress,
        )
