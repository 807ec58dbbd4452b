"""What `explore` finds, and the contact sheet."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from image_files import load, make_folder, noise
from PIL import Image

from automl_transfer.data.contact_sheet import write_contact_sheet
from automl_transfer.data.explore import Exploration, explore
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import OutputError


def look(root: Path, cache: Path) -> Exploration:
    return explore(TaskSpec(dataset=str(root)), cache_root=cache)[0]


def test_balance_sizes_and_channels(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"cat": 20, "dog": 10})
    noise(77, 50).resize((40, 90)).save(root / "cat" / "tall.png")
    seen = look(root, tmp_path / "c")
    assert seen.images == 31
    assert [(c.name, c.train, c.validation, c.test) for c in seen.classes] == [
        ("cat", 13, 4, 4),
        ("dog", 6, 2, 2),
    ]
    assert seen.imbalance == pytest.approx(13 / 6)
    assert seen.sizes.width == (24, 24.0, 40)
    assert seen.sizes.height == (24, 24.0, 90)
    assert seen.sizes.distinct == 2
    assert len(seen.task.channel_mean) == 3
    assert seen.duplicates.extra_images == 0
    assert Exploration.model_validate_json(seen.model_dump_json()) == seen


def test_duplicates_within_and_across_splits_and_labels(tmp_path: Path) -> None:
    counts = {f"{split}/{name}": 4 for split in ("train", "val", "test") for name in ("a", "b")}
    root = make_folder(tmp_path / "d", counts)
    shutil.copy(root / "train/a/000.png", root / "train/a/copy.png")  # within
    shutil.copy(root / "train/b/000.png", root / "test/b/leak.png")  # across
    Image.open(root / "train/a/001.png").save(root / "train/b/wrong.bmp")  # another format and label
    found = look(root, tmp_path / "c").duplicates
    assert (found.extra_images, found.within_splits, found.across_splits, found.conflicting) == (3, 2, 1, 1)
    assert found.groups[0].keys == ("train/b/000.png", "test/b/leak.png")
    assert found.groups[0].splits == ("train", "test")
    assert found.groups[1].classes == ("a", "b")


def test_unreadable_files_are_listed_not_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"cat": 5, "dog": 5})
    (root / "cat" / "bad.png").write_bytes(b"bad")
    (bad,) = look(root, tmp_path / "c").skipped
    assert bad.key == "cat/bad.png"
    assert bad.reason == "not an image in a known format"


def test_unused_images_of_few_image_versions(tmp_path: Path) -> None:
    seen = look(Path("digits?per_class=5"), tmp_path / "c")
    assert seen.unused == 1797 - 50 - 50 - 359
    assert {c.train for c in seen.classes} == {5}


def test_contact_sheet(tmp_path: Path) -> None:
    loaded = load(make_folder(tmp_path / "d", {"Hähne": 6, "猫": 12}), tmp_path / "c")
    path = write_contact_sheet(loaded, tmp_path / "out dir" / "blatt ä.png", per_class=4, tile=32)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet)
    first = int(loaded.indices["train"][0])
    assert pixels.shape[1] == 4 + 4 * 36
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (32, 32, 3)).reshape(-1, 32, 32, 3)
    train_rows = [row for row in loaded.indices["train"] if loaded.labels[row] == 0]
    shown = [row for row in train_rows if (windows == loaded.images[row]).all(axis=(1, 2, 3)).any()]
    assert first in train_rows
    assert len(shown) == 4
    assert not list(path.parent.glob("*.part"))


def test_contact_sheet_of_many_classes_is_bounded(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {f"c{number:02d}": 3 for number in range(60)}, side=8)
    path = write_contact_sheet(load(root, tmp_path / "c"), tmp_path / "s.png", per_class=1, tile=32)
    with Image.open(path) as sheet:
        assert sheet.height < 51 * 54 + 32


def test_contact_sheet_that_cannot_be_written(tmp_path: Path) -> None:
    loaded = load("digits", tmp_path / "c")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="contact sheet must be writable"):
        write_contact_sheet(loaded, tmp_path / "file" / "s.png")
