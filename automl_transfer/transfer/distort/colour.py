"""Colour jitter: brightness, contrast, saturation and hue (Chen et al. 2020, SimCLR, appendix A)."""

from __future__ import annotations

from torchvision.transforms.v2 import functional as F

from automl_transfer.transfer.distort.base import Chance, Picture

FACTOR, HUE = 0.8, 0.2
"""At strength 1, most of each in either direction; of the hue, as a share of the circle."""


def colour(image: Picture, chance: Chance) -> Picture:
    """All four, in an order that is drawn as well; of gray images the first two."""
    most = FACTOR * chance.strength
    drawn = 1.0 + most * (2.0 * chance.random.random(3) - 1.0)
    turn = HUE * chance.strength * (2.0 * float(chance.random.random()) - 1.0)
    changes = (
        lambda seen: F.adjust_brightness(seen, float(drawn[0])),
        lambda seen: F.adjust_contrast(seen, float(drawn[1])),
        lambda seen: F.adjust_saturation(seen, float(drawn[2])),
        lambda seen: F.adjust_hue(seen, turn),
    )
    for number in chance.random.permutation(4 if image.mode == "RGB" else 2):
        image = changes[number](image)
    return image
