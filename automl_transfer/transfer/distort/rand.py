"""RandAugment: two operations of one size (Cubuk et al. 2020, section 3)."""

from __future__ import annotations

from automl_transfer.transfer.distort.base import Chance, Picture, operations

SPACE = operations(shear=0.3, shift=150 / 331, turn=30.0, enhance=0.9, bits=4)
NAMES = tuple(SPACE)
OPERATIONS = 2


def rand(image: Picture, chance: Chance) -> Picture:
    """Two operations drawn evenly, one after the other, each of the size `strength`."""
    for _ in range(OPERATIONS):
        name = NAMES[int(chance.random.integers(len(NAMES)))]
        image = SPACE[name](image, chance.strength, chance)
    return image
