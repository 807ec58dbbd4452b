"""How a row of numbers is an image: height, width and channels, in which order."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from automl_transfer.errors import DataError

Array = npt.NDArray[Any]

CHANNELS = (1, 3, 4)
LARGEST = 65_535
"""Pixels a side; an image library's own limit too."""

RULE = "(height, width), (height, width, 1 | 3 | 4) or (1 | 3 | 4, height, width)"


@dataclass(frozen=True)
class ImageShape:
    """An image as it lies in a row.

    Attributes:
        planes: Whether the row has one plane after the other (all red values, then all green ones), as
            CIFAR's files have it, and not pixel after pixel.
    """

    height: int
    width: int
    channels: int
    planes: bool = False

    @property
    def numbers(self) -> int:
        """How many make an image."""
        return self.height * self.width * self.channels

    def of(self, rows: Array) -> Array:
        """Rows (..., numbers) as images (..., height, width, channels), without a copy where possible."""
        before = rows.shape[:-1]
        if not self.planes:
            return rows.reshape(*before, self.height, self.width, self.channels)
        planes = rows.reshape(*before, self.channels, self.height, self.width)
        return planes.transpose(*range(len(before)), -2, -1, -3)

    def __str__(self) -> str:
        colour = "" if self.channels == 1 else f"x{self.channels}"
        return f"{self.height}x{self.width}{colour}" + (", plane after plane" if self.planes else "")


def parse(text: str) -> ImageShape:
    """A shape as options have it: 28x28, 32x32x3 or 3x32x32.

    Raises:
        DataError: It is none.
    """
    if not re.fullmatch(r"[0-9]{1,5}(?:x[0-9]{1,5}){1,2}", text):
        raise DataError(f"the shape of an image must be like 28x28, 32x32x3 or 3x32x32, got {text!r}")
    return of_sides([int(side) for side in text.split("x")])


def of_sides(sides: Sequence[int]) -> ImageShape:
    """A shape as Python has it; where both ends could be channels, they come last.

    Raises:
        DataError: It is none.
    """
    if all(1 <= side <= LARGEST for side in sides):
        if len(sides) == 2:
            return ImageShape(sides[0], sides[1], 1)
        if len(sides) == 3 and sides[2] in CHANNELS:
            return ImageShape(sides[0], sides[1], sides[2])
        if len(sides) == 3 and sides[0] in CHANNELS:
            return ImageShape(sides[1], sides[2], sides[0], planes=True)
    raise DataError(f"the shape of an image must be {RULE}, got {tuple(sides)}")


def square_of(numbers: int) -> ImageShape | None:
    """The gray square that a row fills; None where it fills none."""
    side = math.isqrt(numbers)
    return ImageShape(side, side, 1) if numbers == side * side else None


def which_shapes(numbers: int, how: str) -> str:
    """What to do about rows of so many numbers; `how` is how a shape is said: "image_shape={}"."""
    side = math.isqrt(numbers // 3)
    if numbers == 3 * side * side:
        last, first = (how.format(text) for text in _written(how, (side, side, 3), (3, side, side)))
        return (
            f"say {last} where the three colours of a pixel lie together, or {first} where all red numbers "
            "come first (CIFAR's files)"
        )
    gray = square_of(numbers)
    if gray is not None:
        return f"say {how.format(*_written(how, (gray.height, gray.width)))}"
    return f"say {how.format('SHAPE')}, the shape of an image: {RULE}"


def _written(how: str, *shapes: tuple[int, ...]) -> list[str]:
    """As Python writes them, or as options do."""
    return ["x".join(map(str, shape)) if "?" in how else str(shape) for shape in shapes]
