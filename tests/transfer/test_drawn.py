"""Images that are drawn anew in every pass: what they show, and that they are the same whoever asks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from automl_transfer.domain import methods
from automl_transfer.transfer.drawn import Draw, Drawn

COLOUR = np.random.default_rng(0).integers(0, 256, (30, 24, 24, 3), dtype=np.uint8)
PLAIN = Draw(crop=1.0, mirror=False, distort="none", strength=0.5, erasing=0.0, seed=3, upright=True)
DRAWS = [
    replace(PLAIN, crop=0.5, mirror=True),
    *(replace(PLAIN, distort=name) for name in methods.built_in("distort") if name != "none"),
    replace(PLAIN, erasing=0.9),
    replace(PLAIN, crop=0.3, mirror=True, distort="trivial", strength=1.0, erasing=0.5, upright=False),
]


@pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: f"{draw.distort}-{draw.crop}-{draw.erasing}")
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_depends_on_row_pass_and_seed_only(draw: Draw, channels: int) -> None:
    images = COLOUR[..., :channels]
    drawn = Drawn(images, None, draw)
    rows = np.array([5, 29, 0, 17])
    numbers = drawn.numbers(rows, [0, 1, 2, 7])
    found = drawn[numbers]
    assert found.shape == (16, 24, 24, channels)
    assert np.array_equal(found[::4], images[rows])  # validation images are numbers of pass 0
    assert len({pixels.tobytes() for pixels in found}) > 8
    order = np.random.default_rng(1).permutation(len(numbers))
    assert np.array_equal(drawn[numbers[order]], found[order])
    for number, pixels in zip(numbers, found, strict=True):
        assert np.array_equal(drawn[np.array([number])][0], pixels)
    other = Drawn(images, None, replace(draw, seed=4))[numbers]
    assert not np.array_equal(other, found)
    assert np.array_equal(other[::4], found[::4])


def test_a_crop_shows_a_part_of_the_larger_image_and_the_area_that_was_asked_for() -> None:
    ramp = np.zeros((300, 80, 80, 1), np.uint8)
    ramp[...] = (np.arange(80) * 3)[None, None, :, None]
    small = np.zeros((300, 64, 64, 1), np.uint8)
    seen = Drawn(small, ramp, replace(PLAIN, crop=0.4))[np.arange(300) + 300].astype(float)
    assert seen.shape == (300, 64, 64, 1)
    left, right = seen[:, 0, 0, 0] / 3, seen[:, 0, -1, 0] / 3
    width = (right - left + 1) / 80
    assert width.min() > np.sqrt(0.4 * 3 / 4) - 0.05
    assert 0.75 < width.mean() < 0.95  # the root of an area that is even between .4 and 1
    assert left.min() < 3
    assert right.max() > 76
    assert (np.diff(seen, axis=2) >= 0).all()  # never mirrored


def test_half_of_the_images_are_mirrored() -> None:
    drawn = Drawn(COLOUR, None, replace(PLAIN, mirror=True))
    rows = np.arange(30)
    mirrored = [
        np.array_equal(pixels, COLOUR[row, :, ::-1])
        for number in range(1, 41)
        for row, pixels in zip(rows, drawn[drawn.numbers(rows, [number])], strict=True)
    ]
    kept = [
        np.array_equal(pixels, COLOUR[row])
        for number in range(1, 41)
        for row, pixels in zip(rows, drawn[drawn.numbers(rows, [number])], strict=True)
    ]
    assert 0.45 < np.mean(mirrored) < 0.55
    assert np.mean(mirrored) + np.mean(kept) == 1.0


@pytest.mark.parametrize(("upright", "most"), [(True, 30.0), (False, 135.0)])
def test_where_the_class_depends_on_what_is_up_nothing_is_turned_far(upright: bool, most: float) -> None:
    """A 6 that is turned by 135 degrees is a 9."""
    disc = np.zeros((2000, 33, 33, 1), np.uint8)
    disc[:, 2:12, 14:19] = 255  # a spot above the middle
    draw = replace(PLAIN, distort="trivial", strength=1.0, upright=upright)
    seen = Drawn(disc, None, draw)[np.arange(2000) + 2000][..., 0].astype(float)
    spots = np.where(seen > 200, seen, 0)
    weight = spots.sum((1, 2))
    bright = (weight > 0.7 * weight.max()) & (weight < 1.3 * np.median(weight))
    y, x = np.mgrid[:33, :33]
    across = (spots[bright] * (x - 16)).sum((1, 2)) / weight[bright]
    up = (spots[bright] * (16 - y)).sum((1, 2)) / weight[bright]
    turned = np.abs(np.degrees(np.arctan2(across, up)))
    assert turned.max() < most + 25.0  # shifts and shears turn a spot a little, too
    assert turned.max() > most - 20.0


def test_erasing_fills_a_rectangle_with_noise() -> None:
    white = np.full((400, 40, 40, 1), 255, np.uint8)
    seen = Drawn(white, None, replace(PLAIN, erasing=0.5))[np.arange(400) + 400][..., 0]
    shares = (seen != 255).mean((1, 2))
    assert 0.4 < (shares > 0).mean() < 0.6
    assert shares[shares > 0].min() > 0.01
    assert shares.max() < 0.34
