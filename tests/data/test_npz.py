"""Arrays of images in an .npz, good and bad."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import load

from automl_transfer.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 16, 16), dtype=np.uint8)
LABELS = np.arange(20) % 2


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (IMAGES, IMAGES),
        (IMAGES[..., None], IMAGES),
        (IMAGES.astype(np.int64), IMAGES),
        (IMAGES.astype(np.float64) / 255.0, IMAGES),
        (IMAGES.astype(np.uint16) * 257, IMAGES),
        (IMAGES > 127, np.where(IMAGES > 127, 255, 0)),
    ],
)
def test_types_of_pixels(tmp_path: Path, images: np.ndarray, expected: np.ndarray) -> None:
    loaded = load(save(tmp_path / "a.npz", images=images, labels=LABELS), tmp_path / "c", resolution=16)
    assert np.array_equal(loaded.images[..., 0], expected)
    assert loaded.task.name == "a"
    assert loaded.keys[3] == "images[3]"


def test_class_names_and_groups(tmp_path: Path) -> None:
    groups = np.repeat(np.arange(10), 2)
    path = save(
        tmp_path / "a.npz",
        images=IMAGES,
        labels=LABELS[:, None],
        classes=np.array(["Kuh", "猫"]),
        groups=groups,
    )
    loaded = load(path, tmp_path / "c")
    assert loaded.task.classes == ("Kuh", "猫")
    homes = [set(groups[rows]) for rows in loaded.indices.values()]
    assert sum(map(len, homes)) == 10


def test_strings_and_odd_numbers_as_labels(tmp_path: Path) -> None:
    named = save(tmp_path / "a.npz", images=IMAGES, labels=np.array(["dog", "cat"])[LABELS])
    assert load(named, tmp_path / "c").task.classes == ("cat", "dog")
    numbered = save(tmp_path / "b.npz", images=IMAGES, labels=LABELS * 10 + 5)
    assert load(numbered, tmp_path / "c").task.classes == ("5", "15")


@pytest.mark.parametrize("pattern", ["images_{}|labels_{}", "x_{}|y_{}", "{}_images|{}_labels"])
def test_declared_splits_of_an_npz(tmp_path: Path, pattern: str) -> None:
    arrays = {}
    for split, rows in (("train", slice(0, 12)), ("val", slice(12, 16)), ("test", slice(16, 20))):
        images, labels = pattern.replace("{}", split).split("|")
        arrays |= {images: IMAGES[rows], labels: LABELS[rows]}
    loaded = load(save(tmp_path / "a.npz", **arrays), tmp_path / "c")
    assert loaded.task.splits.model_dump() == {"train": 12, "validation": 4, "test": 4}
    assert loaded.indices["test"].tolist() == [16, 17, 18, 19]


class Payload:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("field", ["images", "labels", "classes"])
def test_pickled_objects_are_never_read(tmp_path: Path, field: str) -> None:
    hostile = np.empty(20, object)
    hostile[:] = [Payload(tmp_path / "ran")] * 20
    pickle.dumps(hostile)  # it is what it claims to be
    path = save(tmp_path / "a.npz", **{"images": IMAGES, "labels": LABELS, field: hostile})
    with pytest.raises(DataError, match=r"a\.npz"):
        load(path, tmp_path / "c")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, r"must hold the arrays images and labels.*got \['images'\]"),
        ({"pictures": IMAGES, "labels": LABELS}, "must hold the arrays images and labels"),
        ({}, "got nothing"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, r"one label an image \(20\), got shape \(19,\)"),
        ({"images": IMAGES, "labels": np.eye(20)}, r"got shape \(20, 20\)"),
        ({"images": IMAGES, "labels": LABELS + 0.5}, "labels must be integers or strings, got float64"),
        ({"images": IMAGES, "labels": np.full(20, np.nan)}, "labels must be integers"),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array(["a"])}, r"labels must lie in 0\.\.0"),
        ({"images": IMAGES, "labels": LABELS - 1, "classes": np.array(["a", "b"])}, "got -1 to 0"),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array(["a", "a"])}, "class names must differ"),
        ({"images": IMAGES, "labels": LABELS, "groups": LABELS[:3]}, "one value an image .20., got 3"),
        ({"images": IMAGES, "labels": np.zeros(20, int)}, "at least two classes, got 1"),
        ({"images": IMAGES.reshape(20, -1), "labels": LABELS}, r"must have the shape .N, H, W."),
        ({"images": np.zeros((20, 3, 16, 16)), "labels": LABELS}, "channels come last"),
        ({"images": np.zeros((20, 0, 16), np.uint8), "labels": LABELS}, "must have the shape"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "at least two classes, got 0"),
        ({"images": np.full((20, 4, 4), "x"), "labels": LABELS}, "must hold numbers"),
        ({"images": np.zeros((20, 4, 4), complex), "labels": LABELS}, "must hold numbers, got complex128"),
        (
            {"images": IMAGES.astype(float), "labels": LABELS},
            r"images\[0\]: float pixels must lie in \[0, 1\]",
        ),
        ({"images": IMAGES.astype(int) * 9, "labels": LABELS}, r"integer pixels must lie in 0\.\.255"),
        ({"images": IMAGES.astype(int) - 200, "labels": LABELS}, r"integer pixels must lie in 0\.\.255"),
    ],
)
def test_wrong_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(save(tmp_path / "a.npz", **arrays), tmp_path / "c")
    assert not list(tmp_path.rglob("images.npy"))


def test_nan_in_one_image_names_it(tmp_path: Path) -> None:
    images = IMAGES / 255.0
    images[7, 3, 3] = np.nan
    path = save(tmp_path / "a.npz", images=images, labels=LABELS)
    with pytest.raises(DataError, match=r"got 1 of 20 .*\n  images\[7\]: float pixels must be finite"):
        load(path, tmp_path / "c")
    loaded = load(path, tmp_path / "c", on_bad_image="skip")
    assert len(loaded.labels) == 19
    assert [bad.key for bad in loaded.skipped] == ["images[7]"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text", b"\x93NUMPY\x01\x00"])
def test_not_an_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"must be a zip archive of arrays, got 'a\.npz'"):
        load(tmp_path / "a.npz", tmp_path / "c")


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("images.npy").header_offset + 2000
    data = bytearray(path.read_bytes())
    data[start : start + 50] = bytes(50)
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"must be whole, got 'a\.npz'"):
        load(path, tmp_path / "c")
    assert not list(tmp_path.rglob("images.npy"))
    assert not list(tmp_path.rglob("*.tmp"))
