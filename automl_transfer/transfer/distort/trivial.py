"""TrivialAugment: one operation, of any size (Müller & Hutter 2021, section 3, the wide space)."""

from __future__ import annotations

from automl_transfer.transfer.distort.base import Chance, Picture, operations

WIDE = operations(shear=0.99, shift=32 / 224, turn=135.0, enhance=0.99, bits=2)
NAMES = tuple(WIDE)


def trivial(image: Picture, chance: Chance) -> Picture:
    """One operation drawn evenly, its size drawn evenly up to `strength`."""
    name = NAMES[int(chance.random.integers(len(NAMES)))]
    return WIDE[name](image, chance.strength * float(chance.random.random()), chance)
