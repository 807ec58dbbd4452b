"""WebDataset shards: written by the library whose format they are, and by tar itself."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl_transfer.data.task import load_task
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


def load(path: Path, cache: Path, **more: object) -> object:
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


def test_members_without_a_name_are_no_samples(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "one.tar", "w") as tar:
        for number in range(20):
            add(tar, f"{number}.png", png(number))
            add(tar, f"{number}.cls", str(number % 2).encode())
        for name in (".png", "..png", "a/.cls", ""):
            add(tar, name, b"0")
    assert len(load(tmp_path / "one.tar", tmp_path / "cache").labels) == 20
