"""A model's range is taken for images that may be scaled by it: dark images stay dark (D6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl_transfer.data.task import load_with_details
from automl_transfer.domain.pixel_range import EIGHT_BITS, PixelRange, asked
from automl_transfer.domain.spec import TaskSpec

TWELVE = PixelRange(low=0.0, high=4095.0, word="12 bits")
DARK = np.random.default_rng(0).integers(0, 900, (20, 8, 8)).astype(np.uint16)
LABELS = np.arange(20) % 2


def scaled(dataset: Path, cache: Path, expected: PixelRange | None) -> tuple[str, int]:
    details = load_with_details(
        TaskSpec(dataset=str(dataset), resolution=8, channels=1),
        data_root=None,
        cache_root=cache,
        progress=None,
        expected=expected,
    )
    return str(details.loaded.task.pixel_range), int(details.loaded.images.max())


def npz(folder: Path, images: np.ndarray) -> Path:
    np.savez(folder / "a.npz", images=images, labels=LABELS)
    return folder / "a.npz"


def test_dark_images_of_twelve_bits_are_not_taken_for_ten(tmp_path: Path) -> None:
    path = npz(tmp_path, DARK)
    assert scaled(path, tmp_path / "c", None) == ("10 bits (0 to 1023)", round(DARK.max() / 1023 * 255))
    assert scaled(path, tmp_path / "c", TWELVE) == ("12 bits (0 to 4095)", round(DARK.max() / 4095 * 255))
    folder = tmp_path / "files"
    for number, (image, label) in enumerate(zip(DARK, LABELS, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{number}.png")
    assert scaled(folder, tmp_path / "c", None)[0] == "10 bits (0 to 1023)"
    assert scaled(folder, tmp_path / "c", TWELVE) == ("12 bits (0 to 4095)", round(DARK.max() / 4095 * 255))


@pytest.mark.parametrize(
    ("images", "expected", "word"),
    [
        (DARK / 900, TWELVE, "0 to 1"),
        (DARK / 900, EIGHT_BITS, "0 to 1"),
        ((DARK % 256).astype(np.uint8), TWELVE, "8 bits (0 to 255)"),
        (DARK % 256, PixelRange(low=0.0, high=1.0, word="0 to 1"), "8 bits (0 to 255)"),
        (DARK % 16, EIGHT_BITS, "8 bits (0 to 255)"),
        (DARK * 70, TWELVE, "16 bits (0 to 65535)"),
        (DARK, asked(100, 500), "100 to 500"),
    ],
)
def test_what_is_plainly_scaled_otherwise_keeps_its_own_range(
    images: np.ndarray, expected: PixelRange, word: str, tmp_path: Path
) -> None:
    assert scaled(npz(tmp_path, images), tmp_path / "c", expected)[0] == word
