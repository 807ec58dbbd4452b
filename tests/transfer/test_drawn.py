"""Images that are drawn anew in every pass: what they show, and that they are the same whoever asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_plans import CPU, plan, small_backbone, small_task, strategy
from torch import nn

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain import methods
from automl_transfer.domain.horizon import Horizon
from automl_transfer.errors import SourceError
from automl_transfer.models.network import Backbone
from automl_transfer.training.making import make_run
from automl_transfer.transfer.drawn import Draw, Drawn
from automl_transfer.transfer.views import Augment, Views

COLOUR = np.random.default_rng(0).integers(0, 256, (30, 24, 24, 3), dtype=np.uint8)
PLAIN = Draw(
    crop=1.0, scale=1.0, mirror=False, distort="none", strength=0.5, erasing=0.0, seed=3, upright=True
)
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


def test_each_pass_draws_from_the_view_whose_turn_it_is(task: LoadedTask) -> None:
    """A strategy that asked for shifted views and for mirrors had the mirrors alone."""
    found = plan(task, tune_mode="full", augmentation="affine", views=3, mirror=True)
    drawn, views, rows = found.seen(task), Views(task.images, found.augment), task.indices["train"]
    for number in range(1, 7):
        seen = drawn[drawn.numbers(rows, [number])]
        view = views[views.numbers(rows, [(number - 1) % 3])]
        mirrored = (seen == view[:, :, ::-1]).all((1, 2, 3))
        assert (mirrored | (seen == view).all((1, 2, 3))).all()
        assert 0.3 < mirrored.mean() < 0.7
    validation = task.indices["validation"]
    assert np.array_equal(drawn[validation], task.images[validation])
    ramp = np.zeros((30, 80, 80, 3), np.uint8)
    ramp[...] = (np.arange(80) * 3)[None, None, :, None]
    crop = replace(PLAIN, crop=0.4)
    cropped, plain = Drawn(COLOUR, ramp, crop, Augment("affine", 2)), Drawn(COLOUR, ramp, crop)
    numbers = cropped.numbers(np.arange(30), [1, 2])
    same = np.array([np.array_equal(*pair) for pair in zip(cropped[numbers], plain[numbers], strict=True)])
    assert same[::2].all()  # the first view is the image as it is
    assert not same[1::2].any()


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


def test_crops_may_be_smaller_than_the_images_that_are_judged() -> None:
    larger = np.random.default_rng(2).integers(0, 256, (9, 60, 60, 3), dtype=np.uint8)
    draw, numbers = replace(PLAIN, crop=0.5, mirror=True), np.arange(9) + 18
    small = Drawn(np.zeros((9, 32, 32, 3), np.uint8), larger, draw)[numbers]
    judged = Drawn(np.zeros((9, 40, 40, 3), np.uint8), larger, replace(draw, scale=0.8))
    assert judged.shape == (9, 40, 40, 3)
    assert np.array_equal(judged[numbers], small)  # the same parts, at the same side
    assert judged[np.arange(9)].shape == (9, 40, 40, 3)
    few = Drawn(np.zeros((9, 36, 36, 3), np.uint8), larger, replace(draw, scale=0.5))
    assert few[numbers].shape == (9, 32, 32, 3)  # large enough for every network
    for resized, side in ((0.5, 64), (1.25, 26)):  # what the network is shown, after it has resized that
        shown = Drawn(np.zeros((9, 80, 80, 3), np.uint8), larger, replace(draw, scale=0.25, resized=resized))
        assert shown[numbers].shape == (9, side, side, 3)


@pytest.mark.parametrize("resized", [1.0, 0.5])
def test_crops_that_are_too_small_for_the_network_are_refused_before_anything_is_trained(
    tmp_path: Path, resized: float
) -> None:
    """The last pooling failed in the first step, in torch's words: only what is judged had been proved."""
    pixels = round(64 / resized)
    task = small_task(tmp_path, "digits?per_class=2", pixels)
    body = small_backbone()
    pooled = [nn.MaxPool2d(3, 2) for _ in range(5)]  # 64, 31, 15, 7, 3, 1
    poolings = Backbone(
        "pooling", [body.groups[0], *pooled], ["stem", *["pooling"] * 5],
        in_channels=1, mean=body.mean, std=body.std, resolution=64, pretrained=True,
    )  # fmt: skip
    crops = {"tune_mode": "full", "crop": 0.5, "resolution_scale": resized}
    plan(task, backbone=poolings, **crops)
    with pytest.raises(SourceError, match=r"train_scale must leave crops .*, got 0\.8: .*got 51 pixels"):
        plan(task, backbone=poolings, train_scale=0.8, **crops)


def test_a_network_trains_on_small_crops_and_is_judged_on_larger_images(task: LoadedTask) -> None:
    chosen = strategy(tune_mode="full", norm_policy="train", crop=0.5, train_scale=0.5, batch=16)
    assert "crops at 0.5 of that side" in chosen.describe()
    task = replace(task, images=np.ascontiguousarray(task.images.repeat(4, 1).repeat(4, 2)))
    run = make_run(chosen, task, small_backbone(), horizon=Horizon(1), seed=0, device=CPU)
    seen: set[tuple[int, ...]] = set()
    run.model.register_forward_pre_hook(lambda _, args: seen.add((run.model.training, args[0].shape[-1])))
    next(iter(run.epochs()))
    side = task.side
    assert seen == {(True, side // 2), (False, side)}
