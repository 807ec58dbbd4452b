"""Images that know which of them were read."""

from __future__ import annotations

from typing import Any

import numpy as np


class Watched:
    """In place of a task's array of images.

    Attributes:
        read: The rows of each access, in order.
    """

    def __init__(self, images: Any) -> None:
        self._images = images
        self.read: list[np.ndarray] = []

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._images.shape)

    @property
    def seen(self) -> set[int]:
        return {int(row) for rows in self.read for row in rows}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.read.append(np.atleast_1d(rows))
        return np.asarray(self._images[rows])
