"""Arrays of images in an .npz, good and bad."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import load

from automl_transfer.data.registry import open_dataset
from automl_transfer.domain.spec import TaskSpec
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
        # D1, D6: by their values, whatever the type and byte order.
        (IMAGES.astype(np.float32) / np.float32(255), IMAGES),
        ((IMAGES / 255).astype(np.float16), IMAGES),
        (IMAGES.astype(np.longdouble), IMAGES),
        (IMAGES.astype(">f8"), IMAGES),
        (IMAGES.astype(">u2") * 257, IMAGES),
        (np.rint(IMAGES * (4095 / 255)).astype(">u2"), IMAGES),
        (IMAGES.astype(int) - 128, IMAGES),
        (IMAGES / 127.5 - 1.0, IMAGES),
        (IMAGES.astype(np.uint64), IMAGES),
        (np.where(IMAGES > 127, 1, 0).astype(np.uint8), np.where(IMAGES > 127, 255, 0)),
    ],
)
def test_types_of_pixels(tmp_path: Path, images: np.ndarray, expected: np.ndarray) -> None:
    loaded = load(save(tmp_path / "a.npz", images=images, labels=LABELS), tmp_path / "c", resolution=16)
    assert np.array_equal(loaded.images[..., 0], expected)
    assert loaded.task.name == "a.npz"
    assert loaded.keys[3] == "images[3]"


def test_larger_images_are_read_where_the_smaller_ones_have_just_been(tmp_path: Path) -> None:
    """Unpacked once more: the second time ended in a traceback, in the process that had filled the cache."""
    path = save(tmp_path / "a.npz", images=IMAGES.repeat(4, 1).repeat(4, 2), labels=LABELS)
    loaded = load(path, tmp_path / "c", resolution=32)
    enlarged = loaded.enlarged()
    assert enlarged is not None
    assert enlarged.shape[1] > 32
    assert loaded.in_detail(2.0).images.shape[1] == 64


@pytest.mark.parametrize(
    ("names", "unused"),
    [
        (("images", "labels", "images_test", "labels_test"), "'images_test', 'labels_test'"),
        (("x_train", "y_train", "x_test", "labels_test"), "'labels_test', 'x_test'"),
        (("images_train", "labels_train", "images_val"), "'images_val'"),
    ],
)
def test_a_split_is_never_left_out_in_silence(tmp_path: Path, names: tuple[str, ...], unused: str) -> None:
    arrays = {name: IMAGES if name[0] in "ix" else LABELS for name in names}
    with pytest.raises(DataError, match=f"all images and labels must be used, got {unused}"):
        load(save(tmp_path / "a.npz", **arrays), tmp_path / "c")


def test_an_array_that_nothing_reads_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS, taken=np.arange(20))
    assert open_dataset(TaskSpec(dataset=str(path))).inventory.notes == ("nothing reads the arrays 'taken'",)


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


def test_weights_are_one_number_an_image(tmp_path: Path) -> None:
    weights = np.linspace(1, 2, 20)
    path = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS, weights=weights)
    assert load(path, tmp_path / "c").weights.tolist() == weights.tolist()  # type: ignore[union-attr]
    for wrong, message in ((weights[1:], r"\(20\), got the shape \(19,\)"), (-weights, "-1 for image 0, ")):
        save(tmp_path / "b.npz", images=IMAGES, labels=LABELS, weights=wrong)
        with pytest.raises(DataError, match=message):
            load(tmp_path / "b.npz", tmp_path / "c")


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
        ({"images": IMAGES, "labels": np.eye(20)}, r"got shape \(20, 20\); they are one-hot: .*argmax\(1\)"),
        ({"images": IMAGES, "labels": LABELS.astype(object)}, r"pickled objects.*labels\.astype\(str\)"),
        ({"images": IMAGES, "labels": LABELS.astype("M8[s]")}, r"datetime64\[s\]: store labels.astype.str"),
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
            {"images": IMAGES / 100 - 1, "labels": LABELS},
            r"usual range .* got -1 to 1.55, with fractions: say",
        ),
        ({"images": IMAGES.astype(int) * 999, "labels": LABELS}, r"got 0 to 254745: say .*\?range=LOW..HIGH"),
        ({"images": IMAGES.astype(int) - 200, "labels": LABELS}, r"got -200 to 55: say"),
        ({"images": np.full((20, 4, 4), np.nan), "labels": LABELS}, "nothing but NaN"),
        (
            {"images": np.zeros((20, 3072)), "labels": LABELS},
            r"3,072 numbers: say \?shape=32x32x3 where .*CIFAR",
        ),
        ({"images": np.zeros((20, 784)), "labels": LABELS}, r"784 numbers: say \?shape=28x28"),
        ({"images": np.zeros((20, 7)), "labels": LABELS}, r"7 numbers: say \?shape=SHAPE"),
        ({"images": np.zeros((20, 3, 16, 16)), "labels": LABELS}, r"np\.moveaxis\(images, 1, -1\)"),
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
    with pytest.raises(DataError, match=r"got 1 of 20 .*\n  images\[7\]: pixels must be finite"):
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


def test_d13_a_range_is_judged_once_for_all_images(tmp_path: Path) -> None:
    """Floats in 0..255, of which only the black images fitted 0..1, were searched without the others."""
    images = IMAGES.astype(float)
    images[::4] = 0.0
    path = save(tmp_path / "a.npz", images=images, labels=LABELS)
    loaded = load(path, tmp_path / "c", resolution=16, on_bad_image="skip")
    assert loaded.skipped == ()
    assert np.array_equal(loaded.images[..., 0], images)
    assert str(loaded.task.pixel_range) == "8 bits (0 to 255)"
    again = load(path, tmp_path / "c", resolution=16)  # from the image cache
    assert again.task.pixel_range == loaded.task.pixel_range


def test_parts_of_another_scale_are_refused(tmp_path: Path) -> None:
    arrays = {
        "x_train": IMAGES[:12],
        "y_train": LABELS[:12],
        "x_test": IMAGES[12:] / 255,
        "y_test": LABELS[12:],
    }
    with pytest.raises(DataError, match=r"x_test must be scaled like the others, 8 bits"):
        load(save(tmp_path / "a.npz", **arrays), tmp_path / "c")


def test_a_range_and_a_shape_can_be_said(tmp_path: Path) -> None:
    values = IMAGES.astype(np.int16) * 10 - 1000
    path = save(tmp_path / "a.npz", images=values, labels=LABELS)
    loaded = load(f"{path}?range=-1000..1550", tmp_path / "c", resolution=16)
    assert np.array_equal(loaded.images[..., 0], IMAGES)
    assert str(loaded.task.pixel_range) == "-1000 to 1550"
    window = load(f"{path}?range=0..255", tmp_path / "c", resolution=16)  # clipped, and cached on its own
    assert np.array_equal(window.images[..., 0], np.clip(values, 0, 255))
    colours = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    planes = save(tmp_path / "b.npz", images=colours.transpose(0, 3, 1, 2).reshape(20, 192), labels=LABELS)
    assert np.array_equal(load(f"{planes}?shape=3x8x8", tmp_path / "c", resolution=8).images, colours)
    together = save(tmp_path / "d.npz", images=colours.reshape(20, 192), labels=LABELS)
    assert np.array_equal(load(f"{together}?shape=8x8x3", tmp_path / "c", resolution=8).images, colours)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("range=1", r"range must read LOW\.\.HIGH, like 0\.\.4095, got '1'"),
        ("range=2..1", "the smaller first"),
        ("range=0..inf", "two numbers"),
        ("range=0..x", "must read"),
        ("shape=3", "like 28x28"),
        ("shape=0x9", "shape of an image must be"),
        ("shape=16x16", r"for rows of numbers, got images with the shape \(20, 16, 16\)"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, option: str, said: str) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    with pytest.raises(DataError, match=said):
        load(f"{path}?{option}", tmp_path / "c")


def replaced(path: Path, member: str, header: str, body: bytes = b"") -> Path:
    """The file with a member of a header that no writer makes."""
    text = header.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content[f"{member}.npy"] = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("member", ["images", "labels"])
@pytest.mark.parametrize(
    "shape",
    [
        "(---1,)",
        "(-5, 8, 8)",
        "(True, 8, 8)",
        "(20, 16, 99999999999999999999)",
        "(1 << 60,)",
        "'x'",
        "(2.5,)",
        "()",
    ],
)
def test_e11_made_up_headers_are_refused(tmp_path: Path, member: str, shape: str) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    replaced(path, member, f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}", bytes(100))
    with pytest.raises(DataError, match=r"a\.npz"):
        load(path, tmp_path / "c")


def test_e12_what_expands_without_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    replaced(path, "labels", "{'descr': '<U90000000', 'fortran_order': False, 'shape': (20,), }", bytes(100))
    with pytest.raises(DataError, match=r"labels must take at most 268,435,456 bytes, got 7,200,000,000"):
        load(path, tmp_path / "c")
    many = np.zeros((200_000, 1, 1), np.uint8)
    np.savez_compressed(tmp_path / "b.npz", images=many, labels=np.zeros(200_000, np.uint8))
    with pytest.raises(DataError, match=r"must hold images, got 200,000 of them in \d+ bytes"):
        load(tmp_path / "b.npz", tmp_path / "c")


@pytest.mark.parametrize(("flag", "method"), [(1, 0), (0, 99), (0, 12)])
def test_e11_encrypted_and_unknown_members_are_refused(tmp_path: Path, flag: int, method: int) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    data = bytearray(path.read_bytes())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # flags, then the method of compression
        start = data.find(sign)
        while start >= 0:
            data[start + at] |= flag
            data[start + at + 2] = method
            start = data.find(sign, start + 4)
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"an \.npz must be .*'a\.npz'"):
        load(path, tmp_path / "c")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([[1, 1], [0, 1], [1, 0], [1, 1]] * 3), "several labels an image are out of scope"),
        (np.linspace(0.5, 6.0, 12), r"numbers to predict \(regression\) are out of scope"),
    ],
)
def test_what_is_out_of_scope_is_said(labels: np.ndarray, said: str, tmp_path: Path) -> None:
    """B10."""
    np.savez(tmp_path / "d.npz", images=np.zeros((12, 8, 8), np.uint8), labels=labels)
    with pytest.raises(DataError, match=said):
        open_dataset(TaskSpec(dataset=str(tmp_path / "d.npz")))
