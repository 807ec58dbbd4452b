"""Training images that are drawn anew in every pass: cropped, mirrored, distorted, partly erased.

Where the fixed views of `views` cost one pass of what is frozen, these let nothing be kept, and never show
the same picture twice. Large photographs want them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from automl_transfer.domain import methods
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import Task
from automl_transfer.transfer.distort.base import Chance, Distort
from automl_transfer.transfer.views import NO_VIEWS, Augment, Images, Views

SQUEEZE = 4 / 3
"""Most that a crop is stretched in either direction (Szegedy et al. 2015, section 6)."""
ERASED, ERASED_SQUEEZE = (0.02, 0.33), 1 / 0.3
"""Share of the image that is erased, and most that its rectangle is stretched (Zhong et al. 2020, 3.2)."""
TRIES = 10
LEAST_SIDE = 32
"""Networks are shown no smaller side than this, or than the images': they halve them five times."""


@dataclass(frozen=True)
class Draw:
    """How a training image is drawn: a function of (seed, pass, the image's row), of nothing else.

    Attributes:
        crop: Smallest share of the image's area that is cropped out and resized (1: none is).
        scale: The side that it is resized to, as a share of the working images'.
        mirror: Whether half of the images are mirrored.
        distort: Name of the distortion.
        strength: Of the distortion.
        erasing: Probability that a rectangle is filled with noise.
        seed: Of all that is drawn.
        upright: Whether images must not be turned by much.
        resized: By which factor the network resizes what it is shown.
    """

    crop: float
    scale: float
    mirror: bool
    distort: str
    strength: float
    erasing: float
    seed: int
    upright: bool
    resized: float = 1.0

    @classmethod
    def of(cls, strategy: Strategy, seed: int, task: Task, resized: float) -> Draw | None:
        """What a strategy asks for; None where training images stay as they are."""
        active = strategy.active()
        found = cls(
            crop=active.get("crop", 1.0),
            scale=active.get("train_scale", 1.0),
            mirror=active.get("mirror", False),
            distort=active.get("distort", "none"),
            strength=active.get("distort_strength", 0.0),
            erasing=active.get("erasing", 0.0),
            seed=seed,
            upright=not task.may("rotate"),
            resized=resized,
        )
        changes = found.crop < 1.0 or found.mirror or found.distort != "none" or found.erasing > 0.0
        return found if changes else None

    def side(self, of: int) -> int:
        """The side at which images of side `of` are drawn."""
        return max(min(of, math.ceil(LEAST_SIDE / self.resized)), round(self.scale * of))

    def __call__(self, pixels: np.ndarray, row: int, number: int, side: int, distort: Distort) -> np.ndarray:
        """One uint8 (H, W, C) image as pass `number` sees it: (side, side, C)."""
        random = np.random.default_rng([self.seed, number, row])
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        if self.crop < 1.0:
            box = _part(random, image.width, image.height, (self.crop, 1.0), SQUEEZE)
            image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
        elif image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        if self.mirror and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        seen = np.array(distort(image, Chance(random, self.strength, self.upright))).reshape(side, side, -1)
        if self.erasing > 0.0 and random.random() < self.erasing:
            left, top, right, bottom = (
                int(edge) for edge in _part(random, side, side, ERASED, ERASED_SQUEEZE)
            )
            hole = seen[top:bottom, left:right]
            hole[...] = random.integers(0, 256, hole.shape, dtype=np.uint8)
        return seen


def _part(
    random: np.random.Generator, width: int, height: int, areas: tuple[float, float], squeeze: float
) -> tuple[float, float, float, float]:
    """A rectangle of a share of the area: left, top, right, bottom; the whole where none fits."""
    for _ in range(TRIES):
        area = random.uniform(*areas) * width * height
        aspect = math.exp(random.uniform(-math.log(squeeze), math.log(squeeze)))
        across, down = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if across <= width and down <= height:
            left, top = random.uniform(0.0, width - across), random.uniform(0.0, height - down)
            return left, top, left + across, top + down
    return 0.0, 0.0, float(width), float(height)


class Drawn:
    """Images as every pass sees them, as one array: number `pass * N + row`; pass 0 has them as they are.

    Args:
        images: At the working resolution, which is square.
        larger: The same rows with more pixels, to crop from.
        draw: What becomes of them.
        augment: How the views come about that it is drawn from, one after the other.
    """

    def __init__(
        self, images: Images, larger: Images | None, draw: Draw, augment: Augment = NO_VIEWS
    ) -> None:
        self._images = images
        self._larger = Views(images if larger is None else larger, augment)
        self._draw = draw
        self._distort: Distort = methods.get("distort", draw.distort)
        self._rows = images.shape[0]
        self._side = draw.side(images.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C) of one pass, as the images are judged."""
        return self._images.shape

    def numbers(self, rows: np.ndarray, passes: Sequence[int]) -> np.ndarray:
        """Numbers of these rows in some passes."""
        return np.asarray((rows[:, None] + self._rows * np.asarray(passes)[None, :]).reshape(-1))

    def view_of(self, number: int) -> int:
        """What pass `number` (from 1) over the training images shows: itself."""
        return number

    def __getitem__(self, numbers: np.ndarray, /) -> np.ndarray:
        """uint8 (B, side, side, C) pixels of these numbers, in this order; all are drawn, or none is."""
        passes, rows = np.divmod(numbers, self._rows)
        drawn = np.flatnonzero(passes)
        if len(drawn) == len(rows) > 0:
            found = np.empty((len(rows), self._side, self._side, self.shape[3]), np.uint8)
        else:
            found = self._images[rows]
        views = np.array([self._larger.view_of(int(number)) for number in passes[drawn]], np.int64)
        for place, pixels in zip(drawn, self._larger[self._rows * views + rows[drawn]], strict=True):
            row, number = int(rows[place]), int(passes[place])
            found[place] = self._draw(pixels, row, number, self._side, self._distort)
        return found
