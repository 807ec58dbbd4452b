"""The contract of a distortion, the one that does nothing, and the operations that others choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

Picture = Image.Image


@dataclass(frozen=True)
class Chance:
    """What a distortion of one image may use.

    Attributes:
        random: Everything that is drawn comes from here: the same image in the same pass looks the same.
        strength: The strategy's `distort_strength`, up to 1.
        upright: Whether an image that is turned by more than a little may be of another class (a 6, a 9).
    """

    random: np.random.Generator
    strength: float
    upright: bool = True

    def either(self, size: float) -> float:
        """The size, or its negative."""
        return size if self.random.random() < 0.5 else -size


Distort = Callable[[Picture, Chance], Picture]
"""From an image (mode L or RGB) to one of the same mode and size."""

Operation = Callable[[Picture, float, Chance], Picture]
"""An image changed by so much, from 0 (nearly nothing) to 1."""

SMALL_TURN = 30.0
"""Degrees that an image may be turned by where its class depends on what is up."""


def nothing(image: Picture, chance: Chance) -> Picture:
    """The image as it is."""
    return image


def affine(
    image: Picture,
    *,
    angle: float = 0.0,
    right: float = 0.0,
    down: float = 0.0,
    shear: tuple[float, float] = (0.0, 0.0),
) -> Picture:
    """Turned and sheared (degrees), shifted (pixels); what comes into view is mean gray."""
    moved: Picture = F.affine(
        image,
        angle=angle,
        translate=[round(right), round(down)],
        scale=1.0,
        shear=list(shear),
        interpolation=InterpolationMode.BILINEAR,
        fill=[128.0] * len(image.getbands()),
    )
    return moved


def operations(
    *, shear: float, shift: float, turn: float, enhance: float, bits: int
) -> Mapping[str, Operation]:
    """The operations of AutoAugment and its successors (Cubuk et al. 2019, table 6).

    Args:
        shear: Most of it, as a tangent.
        shift: Most of it, as a share of a side.
        turn: Most of it, in degrees.
        enhance: Most of what brightness, colour, contrast and sharpness differ from 1 by.
        bits: Fewest that posterising leaves of 8.
    """

    def enhanced(adjust: Callable[[Picture, float], Picture]) -> Operation:
        return lambda image, size, chance: adjust(image, 1.0 + chance.either(enhance * size))

    def turned(image: Picture, size: float, chance: Chance) -> Picture:
        most = min(turn, SMALL_TURN) if chance.upright else turn
        return affine(image, angle=chance.either(most * size))

    def degrees(size: float, chance: Chance) -> float:
        return chance.either(float(np.degrees(np.arctan(shear * size))))

    return {
        "identity": lambda image, size, chance: image,
        "shear_x": lambda image, size, chance: affine(image, shear=(degrees(size, chance), 0.0)),
        "shear_y": lambda image, size, chance: affine(image, shear=(0.0, degrees(size, chance))),
        "shift_x": lambda image, size, chance: affine(image, right=chance.either(shift * size * image.width)),
        "shift_y": lambda image, size, chance: affine(image, down=chance.either(shift * size * image.height)),
        "turn": turned,
        "brightness": enhanced(F.adjust_brightness),
        "colour": enhanced(F.adjust_saturation),
        "contrast": enhanced(F.adjust_contrast),
        "sharpness": enhanced(F.adjust_sharpness),
        "posterise": lambda image, size, chance: F.posterize(image, 8 - round((8 - bits) * size)),
        "solarise": lambda image, size, chance: F.solarize(image, 255.0 * (1.0 - size)),
        "autocontrast": lambda image, size, chance: F.autocontrast(image),
        "equalise": lambda image, size, chance: F.equalize(image),
    }
