"""Fixed augmented views of the training images: few images, seen in a few ways each.

Where random augmentation draws anew every time, these are drawn once: what is frozen can be computed
once for all of them (`training.activation_cache`), and a head can be solved on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from automl_transfer.domain.strategy import Augmentation, Strategy

TRANSLATE, DEGREES, SCALE = 1 / 16, 10.0, 0.1
"""Most of each in either direction: of a side, degrees, of the size. `benchmarks/views.py` shows the gain."""


class Images(Protocol):
    """Rows of uint8 (H, W, C) images: an array, memory-mapped or not, or views of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Images of these rows, in this order."""


@dataclass(frozen=True)
class Augment:
    """How views come about. View 0 is the image as it is; odd views are mirrored where flips are asked for.

    A view is a function of (kind, seed, its number, the image's row): it does not depend on which other
    rows or how many views there are, nor on the device.

    Attributes:
        kind: "affine" shifts, rotates and resizes a little (as torchvision's RandomAffine, borders
            reflected); "flip_affine" mirrors every other view besides.
        count: Views of each image; 1 for none but the image.
        seed: Of what is drawn.
    """

    kind: Augmentation = "none"
    count: int = 1
    seed: int = 0

    @classmethod
    def of(cls, strategy: Strategy, seed: int) -> Augment:
        """What a strategy asks for."""
        return cls() if strategy.augmentation == "none" else cls(strategy.augmentation, strategy.views, seed)

    def facts(self) -> list[Any] | None:
        """What the pixels of a view depend on besides its number, plain; None where there are no views."""
        return None if self.count == 1 else [self.kind, self.seed, TRANSLATE, DEGREES, SCALE]

    def __call__(self, pixels: np.ndarray, rows: np.ndarray, view: int) -> np.ndarray:
        """View number `view` of uint8 (B, H, W, C) pixels of these rows of a task."""
        if view == 0:
            return pixels
        flip = -1.0 if self.kind == "flip_affine" and view % 2 else 1.0
        drawn = np.stack([np.random.default_rng([self.seed, view, row]).random(4) for row in rows])
        drawn = 2.0 * drawn - 1.0
        right, down = (2.0 * TRANSLATE * drawn[:, :2]).T  # in a grid whose sides are 2 long
        turn, size = np.radians(DEGREES) * drawn[:, 2], 1.0 + SCALE * drawn[:, 3]
        cos, sin = size * np.cos(turn), size * np.sin(turn)
        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
        grid = torch.stack([_plane(x, flip * cos, -sin, right), _plane(x, flip * sin, cos, down)], dim=3)
        seen: Tensor = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        return seen.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


NO_VIEWS = Augment()
"""Images as they are."""


def _plane(x: Tensor, across: np.ndarray, downwards: np.ndarray, offset: np.ndarray) -> Tensor:
    """(B, H, W) of across * x + downwards * y + offset, one of each an image, as `F.affine_grid` has it.

    That one multiplies matrices, whose last bit depends on what else is in the batch.
    """
    a, b, c = (torch.from_numpy(value).float().view(-1, 1, 1) for value in (across, downwards, offset))
    height, width = x.shape[2:]
    along = (2.0 * torch.arange(width) + 1.0) / width - 1.0
    down = (2.0 * torch.arange(height) + 1.0) / height - 1.0
    return a * along.view(1, 1, -1) + b * down.view(1, -1, 1) + c


class Views:
    """All views of all images as one array: number `view * N + row`, so that rows mean what they meant.

    Numbers below N, validation and test images among them, are the images as they are.
    """

    def __init__(self, images: Images, augment: Augment) -> None:
        self._images = images
        self.augment = augment
        self._rows = images.shape[0]
        self.count = augment.count

    @property
    def shape(self) -> tuple[int, ...]:
        """(views x N, H, W, C)."""
        return (self.count * self._rows, *self._images.shape[1:])

    def numbers(self, rows: np.ndarray, views: Sequence[int] | None = None) -> np.ndarray:
        """Numbers of some views (by default all) of these rows, those of an image side by side."""
        wanted = np.arange(self.count) if views is None else np.asarray(views)
        return np.asarray((rows[:, None] + self._rows * wanted[None, :]).reshape(-1))

    def view_of(self, number: int) -> int:
        """The view that pass `number` (from 1) over the training images shows: one after the other."""
        return (number - 1) % self.count

    def __getitem__(self, numbers: np.ndarray, /) -> np.ndarray:
        """uint8 (B, H, W, C) pixels of these numbers, in this order."""
        if self.count == 1:
            return self._images[numbers]
        views, rows = np.divmod(numbers, self._rows)
        pixels = self._images[rows]
        for view in np.unique(views):
            here = views == view
            pixels[here] = self.augment(pixels[here], rows[here], int(view))
        return pixels
