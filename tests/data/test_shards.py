"""WebDataset shards: written by the library whose format they are, and by tar itself."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import DataError


def pixels(shade: int, number: int) -> np.ndarray:
    noise = np.random.default_rng(number).integers(0, 40, (20, 20, 3))
    return (noise + shade).astype(np.uint8)


def write(folder: Path, name: str, count: int = 30, begin: int = 0) -> None:
    """A shard as the library webdataset writes it."""
    import webdataset

    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(folder / name)) as sink:
        for number in range(begin, begin + count):
            label = number % 2
            sink.write({"__key__": f"{number:06d}", "png": pixels(20 + 150 * label, number), "cls": label})


def load(path: Path | str, cache: Path, **more: object) -> LoadedTask:
    return load_task(
        TaskSpec.model_validate({"dataset": str(path), "resolution": 32, **more}), cache_root=cache
    )


def test_shards_are_as_a_folder_of_the_same_images(tmp_path: Path) -> None:
    write(tmp_path / "wds", "train-000000.tar", 40)
    write(tmp_path / "wds", "test-000000.tar", 20, begin=100)
    (tmp_path / "wds" / "classes.txt").write_text("dark\nlight\n")
    found = load(tmp_path / "wds", tmp_path / "cache")
    assert found.task.classes == ("dark", "light")
    assert len(found.labels) == 60
    assert found.task.splits.test == 20
    for row, key in enumerate(found.keys):
        number = int(key.rpartition("/")[2])
        assert found.labels[row] == number % 2
    # Pixel for pixel what the image is as a file.
    folder = tmp_path / "folder"
    for number in range(40):
        place = folder / ("dark", "light")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(20 + 150 * (number % 2), number)).save(place / f"{number:06d}.png")
    near = load(folder, tmp_path / "cache")
    of_near = {
        key.rpartition("/")[2].removesuffix(".png"): near.images[row] for row, key in enumerate(near.keys)
    }
    for row, key in enumerate(found.keys):
        name = key.rpartition("/")[2]
        if name in of_near:
            np.testing.assert_array_equal(found.images[row], of_near[name])


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(20 + 150 * (number % 2), number)).save(stream, "PNG")
    return stream.getvalue()


def test_labels_in_json_and_what_is_missing_is_counted(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "one.tar", "w") as tar:
        for number in range(40):
            add(tar, f"a/{number}.png", png(number))
            add(tar, f"a/{number}.json", json.dumps({"label": ("cat", "dog")[number % 2]}).encode())
        add(tar, "a/lonely.png", png(1))
        add(tar, "a/twice.png", png(2))
        add(tar, "a/twice.jpg", png(3))
        add(tar, "a/twice.cls", b"1")
    with pytest.raises(DataError, match=r"got 2 of 42 in one.tar") as refused:
        load(tmp_path / "one.tar", tmp_path / "cache")
    assert "one.tar/a/lonely: has an image and no label" in str(refused.value)
    found = load(tmp_path / "one.tar", tmp_path / "cache", on_bad_image="skip")
    assert (found.task.classes, len(found.labels)) == (("cat", "dog"), 40)


def test_numbers_that_are_alike_are_classes_in_the_same_order_every_time(tmp_path: Path) -> None:
    """Of `1` and `01` either came first, as Python happened to hash them: another task each time."""
    pairs = [f"{zero}{number}" for number in range(1, 9) for zero in ("0", "")]
    with tarfile.open(tmp_path / "one.tar", "w") as tar:
        for number in range(160):
            add(tar, f"{number}.png", png(number))
            add(tar, f"{number}.cls", pairs[number % 16].encode())
    assert load(tmp_path / "one.tar", tmp_path / "cache").task.classes == tuple(pairs)


def test_shards_that_cannot_be_used(tmp_path: Path) -> None:
    write(tmp_path, "whole.tar")
    whole = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "short.tar").write_bytes(whole[: len(whole) // 2 + 100])
    (tmp_path / "gz").mkdir()
    (tmp_path / "gz" / "packed.tar").write_bytes(gzip.compress(whole))
    (tmp_path / "few").mkdir()
    write(tmp_path / "few", "a.tar")
    (tmp_path / "few" / "classes.txt").write_text("only one\n")
    (tmp_path / "gap").mkdir()
    write(tmp_path / "gap", "a.tar")
    (tmp_path / "gap" / "classes.txt").write_text("zero\n\ntwo\nthree\n\n")
    (tmp_path / "odd").mkdir()
    write(tmp_path / "odd", "a.tar")
    (tmp_path / "odd" / "classes.txt").write_bytes(b"\xff\xfe\n")
    (tmp_path / "deep").mkdir()
    with tarfile.open(tmp_path / "deep" / "a.tar", "w") as tar:
        add(tar, "0.json", b"[" * 100_000)
    for name, said in (
        ("short", "must be a whole, uncompressed tar file"),
        ("gz", "must be a whole, uncompressed tar file, got .*: unpack it"),
        ("odd", "the names of classes must be readable, got classes.txt"),
        ("deep", "a sample's JSON must be readable, got .* in '0.json'"),
        ("gap", "got the empty line 2 for the label 1"),
        ("few", "must have a name in classes.txt, got 1 names and the labels '1'"),
    ):
        with pytest.raises(DataError, match=said):
            load(tmp_path / name, tmp_path / "cache")


def test_names_of_classes_that_are_the_same_are_refused_where_both_are_used(tmp_path: Path) -> None:
    write(tmp_path / "s", "a.tar")
    names = tmp_path / "s" / "classes.txt"
    names.write_text("crane\ncrane\n")
    with pytest.raises(DataError, match=r"must have different names, got 'crane' twice in classes.txt"):
        load(tmp_path / "s", tmp_path / "cache")
    names.write_text("dog\ncrane\ncrane\n")
    assert load(tmp_path / "s", tmp_path / "cache").task.classes == ("dog", "crane")


@pytest.mark.parametrize(
    "names",
    [
        ("photos-train-0.tar", "photos-val-0.tar", "photos-test-0.tar"),
        ("train-0.tar", "test-0.tar", "extra-0.tar"),
    ],
)
def test_splits_that_names_of_shards_half_state_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for at, name in enumerate(names):
        write(tmp_path / "s", name, 20, begin=100 * at)
    with pytest.raises(DataError, match=r"must all begin with the split that they belong to, or none, got '"):
        load(tmp_path / "s", tmp_path / "cache")


@pytest.mark.parametrize(
    "name", ["{}-000000-of-000001.tar", "{}-clean-0.tar", "{}.rank0-0.tar", "{}2017_0.tar"]
)
def test_a_name_that_begins_with_a_split_is_of_that_split(tmp_path: Path, name: str) -> None:
    for at, split in enumerate(("train", "val", "test")):
        write(tmp_path / "s", name.format(split), 20, begin=100 * at)
    found = load(tmp_path / "s", tmp_path / "cache")
    for split, of in (("train", "train"), ("validation", "val"), ("test", "test")):
        assert {found.keys[row].startswith(of) for row in found.indices[split]} == {True}
        assert len(found.indices[split]) == 20


def test_a_shard_that_was_exchanged_is_read_again(tmp_path: Path) -> None:
    """Archives of one size are common: tar fills up to ten kilobytes."""

    def shard(shade: int) -> None:
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for number in range(20):
                stream = io.BytesIO()
                Image.new("L", (8, 8), shade + number).save(stream, "BMP")
                add(tar, f"{number}.bmp", stream.getvalue())
                add(tar, f"{number}.cls", str(number % 2).encode())
        os.utime(tmp_path / "a.tar", (1, 1))

    shard(10)
    size = (tmp_path / "a.tar").stat().st_size
    before = load(tmp_path / "a.tar", tmp_path / "cache")
    shard(200)
    assert (tmp_path / "a.tar").stat().st_size == size
    after = load(tmp_path / "a.tar", tmp_path / "cache")
    assert before.images.max() < 40
    assert after.images.min() >= 200


def test_images_of_sixteen_bits_are_scaled_by_one_range_as_files_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "folder").mkdir()
    with tarfile.open(tmp_path / "deep.tar", "w") as tar:
        for number in range(40):
            stream = io.BytesIO()
            Image.fromarray(rng.integers(0, 16384, (16, 16)).astype(np.uint16)).save(stream, "PNG")
            label = "ab"[number % 2]
            add(tar, f"{number:02d}.png", stream.getvalue())
            add(tar, f"{number:02d}.cls", label.encode())
            (tmp_path / "folder" / label).mkdir(exist_ok=True)
            (tmp_path / "folder" / label / f"{number:02d}.png").write_bytes(stream.getvalue())
    shards, folder = (load(tmp_path / name, tmp_path / "cache") for name in ("deep.tar", "folder"))
    of_folder = {key.rpartition("/")[2][:2]: row for row, key in enumerate(folder.keys)}
    for row, key in enumerate(shards.keys):
        other = folder.images[of_folder[key.rpartition("/")[2]]]
        np.testing.assert_array_equal(shards.images[row], other)
    said = load(f"{tmp_path / 'deep.tar'}?range=0..65535", tmp_path / "cache")
    assert said.images.mean() < 0.3 * shards.images.mean()


def test_names_that_are_no_text_can_be_written_into_results(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", encoding="latin-1") as tar:
        for number in range(20):
            add(tar, f"b\u00fccher{number}.png", png(number))
            add(tar, f"b\u00fccher{number}.cls", str(number % 2).encode())
    found = load(tmp_path / "a.tar", tmp_path / "cache")
    assert json.loads(found.task.model_dump_json())
    assert all(key.encode() for key in found.keys)


def test_members_without_a_name_are_no_samples(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "one.tar", "w") as tar:
        for number in range(20):
            add(tar, f"{number}.png", png(number))
            add(tar, f"{number}.cls", str(number % 2).encode())
        for name in (".png", "..png", "a/.cls", ""):
            add(tar, name, b"0")
    assert len(load(tmp_path / "one.tar", tmp_path / "cache").labels) == 20
