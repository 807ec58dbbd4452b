"""What `explore` finds, and the contact sheet."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from image_files import load, make_folder, noise
from PIL import Image

from automl_transfer.data.contact_sheet import refuse_inside, write_contact_sheet
from automl_transfer.data.explore import Exploration, explore
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import DataError, OutputError


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
    assert seen.sizes is not None
    assert seen.duplicates is not None
    assert seen.task is not None
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
    assert found is not None
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


def test_rare_classes_are_findings(tmp_path: Path) -> None:
    """D8: a class with 2 images was refused."""
    seen = look(make_folder(tmp_path / "d", {"cat": 10, "dog": 8, "emu": 2}), tmp_path / "c")
    assert [(c.name, c.train, c.validation, c.test) for c in seen.classes][-1] == ("emu", 2, 0, 0)
    assert seen.imbalance == pytest.approx(3.0)
    (finding,) = seen.findings
    assert "'emu (2)'" in finding
    assert "--rare-classes drop" in finding


def test_a_class_missing_in_a_split_is_a_finding(tmp_path: Path) -> None:
    """D8: it was refused; the counts are those that lie there."""
    counts = {"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2, "test/a": 2, "val/c": 1}
    seen = look(make_folder(tmp_path / "d", counts), tmp_path / "c")
    assert [(c.name, c.train, c.validation, c.test) for c in seen.classes] == [
        ("a", 4, 2, 2),
        ("b", 4, 2, 0),
        ("c", 0, 1, 0),
    ]
    assert "test has no image of 'b', 'c'" in " ".join(seen.findings)


def test_groups_in_two_splits_are_a_finding(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {f"{s}/{c}": 3 for s in ("train", "test") for c in ("a", "b")})
    seen, _ = explore(TaskSpec(dataset=str(root), group_from=r"(\d+)\.png"), cache_root=tmp_path / "c")
    assert "a group must lie in one split" in seen.findings[0]
    assert seen.task is not None


@pytest.mark.parametrize(
    ("counts", "finding", "folders"),
    [
        (
            {"train/a": 4, "train/b": 4, "test/a": 2, "extra": 3},
            "--split-from",
            {"extra": 3, "test": 2, "train": 8},
        ),
        ({"cat": 5}, "at least two classes", {"cat": 5}),
        ({".": 4}, "one subfolder a class", {".": 4}),
        ({"a": 1, "b": 1}, "at least 3 images", {"a": 1, "b": 1}),
    ],
)
def test_files_that_make_no_task_are_described(
    tmp_path: Path, counts: dict[str, int], finding: str, folders: dict[str, int]
) -> None:
    seen, loaded = explore(
        TaskSpec(dataset=str(make_folder(tmp_path / "d", counts))), cache_root=tmp_path / "c"
    )
    assert loaded is None
    assert seen.task is None
    assert finding in seen.findings[0]
    assert {each.name: each.images for each in seen.folders} == folders
    assert seen.account.seen == sum(counts.values())
    assert Exploration.model_validate_json(seen.model_dump_json()) == seen


def test_unreadable_images_are_a_finding(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"cat": 5, "dog": 5})
    (root / "cat" / "bad.png").write_bytes(b"bad")
    (finding,) = look(root, tmp_path / "c").findings
    assert "1 image that cannot be read" in finding
    assert "--on-bad-image skip" in finding
    (root / "cat" / "bad.png").unlink()
    assert look(root, tmp_path / "c").findings == ()


def test_only_unreadable_images_are_described(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "d" / name / f"{number}.png").write_bytes(b"nothing")
    (finding,) = look(tmp_path / "d", tmp_path / "c").findings
    assert "must have readable images, got 6 unreadable ones" in finding


def test_a_wrong_option_is_an_error_all_the_same(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"cat": 5, "dog": 5})
    with pytest.raises(DataError, match="exactly one capture group"):
        explore(TaskSpec(dataset=str(root), classes_from="a"), cache_root=tmp_path / "c")


def test_a_sheet_within_the_dataset_is_refused(tmp_path: Path) -> None:
    """D11: it became a training image."""
    root = make_folder(tmp_path / "d", {"cat": 5, "dog": 5})
    (tmp_path / "link").symlink_to(root)
    spec = TaskSpec(dataset=str(root))
    for place in (root / "sheet.png", root / "cat" / "s.png", tmp_path / "link" / "s.png"):
        with pytest.raises(OutputError, match="outside the dataset's folder"):
            refuse_inside(place, spec, None)
    refuse_inside(tmp_path / "sheet.png", spec, None)
    refuse_inside(root / "sheet.png", TaskSpec(dataset="digits"), None)
