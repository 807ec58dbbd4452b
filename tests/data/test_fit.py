"""How images of any shape become squares: the same in training, in prediction and in packages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl_transfer.data.decode import decode_image, from_array
from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import Task

WIDE = np.zeros((60, 120, 3), np.uint8)
WIDE[:, 30:90, 0] = 255  # the middle square is red, what is beside it is blue
WIDE[:, :30, 2] = WIDE[:, 90:, 2] = 255


@pytest.mark.parametrize("upright", [False, True])
def test_squash_crop_and_pad(tmp_path: Path, upright: bool) -> None:
    image = WIDE.transpose(1, 0, 2) if upright else WIDE
    Image.fromarray(image).save(tmp_path / "image.png")
    seen = {
        fit: decode_image(tmp_path / "image.png", channels=3, resolution=40, fit=fit)  # type: ignore[arg-type]
        for fit in ("squash", "crop", "pad")
    }
    turned = {fit: pixels.transpose(1, 0, 2) if upright else pixels for fit, pixels in seen.items()}
    red = {fit: (pixels[..., 0] > 200) & (pixels[..., 2] < 55) for fit, pixels in turned.items()}
    assert red["squash"][:, 11:29].all()
    assert not red["squash"][:, :9].any()
    assert red["crop"].all()
    assert red["pad"][11:29, 11:29].all()
    assert (turned["pad"][:10] == 128).all()
    assert (turned["pad"][30:] == 128).all()
    for fit, pixels in seen.items():
        assert np.array_equal(from_array(image, 3, 40, fit).pixels, pixels)  # type: ignore[arg-type]


def test_thin_images_are_padded_to_a_line() -> None:
    thin = from_array(np.full((3, 3000), 255, np.uint8), 1, 32, "pad").pixels
    assert (thin == 255).any(axis=(1, 2)).sum() == 1


def test_a_task_says_how_and_caches_do_not_mix(tmp_path: Path) -> None:
    for number in range(24):
        folder = tmp_path / "data" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(WIDE, number, axis=0) // (1 + number % 2)).save(folder / f"{number}.png")
    (tmp_path / "data" / "unlabelled").mkdir()
    Image.fromarray(np.full_like(WIDE, 255)).save(tmp_path / "data" / "unlabelled" / "white.png")
    tasks = {
        fit: load_task(
            TaskSpec(dataset=str(tmp_path / "data"), resolution=32, fit=fit),  # type: ignore[arg-type]
            cache_root=tmp_path / "cache",
        )
        for fit in ("squash", "crop", "pad", "squash")
    }
    assert len({task.task.fingerprint for task in tasks.values()}) == 3
    assert (tasks["pad"].unlabelled.load()[0, 0] == 128).all()  # as the others are
    assert (tasks["squash"].unlabelled.load()[0, 0] == 255).all()
    assert "fit" not in json.loads(tasks["squash"].task.model_dump_json())
    cropped = tasks["crop"]
    assert Task.model_validate_json(cropped.task.model_dump_json()).fit == "crop"
    larger = cropped.enlarged()
    assert larger is not None
    assert larger.shape == (24, 40, 40, 3)
    assert larger[..., 2].max() < 20  # cropped as well
