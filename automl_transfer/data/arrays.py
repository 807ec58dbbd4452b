"""An inventory over arrays: for datasets that come as numbers instead of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import Decoded, Inventory, Native
from automl_transfer.data.decode import from_array


@dataclass
class ArrayInventory(Inventory):
    """uint8 images (N, H, W) in memory: small datasets that packages bring along."""

    threaded: ClassVar[bool] = False
    images: npt.NDArray[Any] = field(default_factory=lambda: np.zeros((0, 1, 1), np.uint8))

    def native(self) -> Native:
        """Gray, at the stored size but at least 32 pixels, so that networks have something to pool."""
        return Native(channels=1, resolution=max(32, *self.images.shape[1:3]))

    def decode(self, row: int, channels: int, resolution: int) -> Decoded:
        """Row `row`, resized."""
        return from_array(self.images[row], channels, resolution, self.fit)
