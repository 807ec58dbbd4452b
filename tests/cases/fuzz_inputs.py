"""Folders, tables and arrays made at random, and what must hold for each: a task that adds up, or one clear error.

`python tests/cases/fuzz.py --minutes 10` looks for exceptions to that; the suite takes a short look.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from automl_transfer.data.explore import explore
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TableColumns, TaskSpec
from automl_transfer.domain.task import SPLITS
from automl_transfer.errors import ConfigurationError, DataError

WHY: Counter[str] = Counter()
SEEN: Counter[str] = Counter()
"""Examples by kind and end."""


def picture(kind: str, seed: int) -> bytes:
    """An image file of some kind, or what is left of one."""
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    eight = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    if kind == "deep":
        Image.fromarray(rng.integers(0, 4096, (6, 5), dtype=np.uint16)).save(stream, "PNG")
    elif kind == "float":
        Image.fromarray(rng.random((6, 5), dtype=np.float32)).save(stream, "TIFF")
    elif kind == "film":
        frames = [Image.fromarray(eight[..., n]) for n in range(3)]
        frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    elif kind == "blank":
        Image.new("RGBA", (4, 4), (seed % 256, 0, 0, 0)).save(stream, "PNG")
    elif kind == "thin":
        Image.new("L", (1, 300), seed % 256).save(stream, "PNG")
    elif kind == "jpeg":
        Image.fromarray(eight[..., :3]).save(stream, "JPEG")
    else:
        Image.fromarray(eight[..., : {"gray": 1, "alpha": 4}.get(kind, 3)].squeeze()).save(stream, "PNG")
    raw = stream.getvalue()
    if kind == "cut":
        return raw[: seed % len(raw)]
    if kind == "flipped":
        at = seed % len(raw)
        return raw[:at] + bytes([raw[at] ^ 255]) + raw[at + 1 :]
    return raw


KINDS = st.sampled_from(
    ["colour"] * 6
    + [
        "gray",
        "alpha",
        "jpeg",
        "deep",
        "float",
        "film",
        "blank",
        "thin",
        "cut",
        "flipped",
        "none",
        "text",
        "heic",
    ]
)
OTHERS = {"none": b"", "text": b"words", "heic": b"\0\0\0\x18ftypheic"}


def judge(kind: str, spec: TaskSpec, cache: Path, seen: int | None) -> LoadedTask | None:
    """Load a task, and check all that is said of it; None where it is refused in words."""
    loaded: LoadedTask | None
    try:
        loaded = load_task(spec, cache_root=cache)
    except (DataError, ConfigurationError) as error:
        refused = str(error)
        SEEN[f"{kind}: refused"] += 1
        loaded = None
    if loaded is None:
        first, *rest = refused.splitlines()
        assert first.strip(), "an error without words"
        assert len(rest) < 20, refused
        assert len(first) < 4000, refused
        WHY[f"{kind}: {first[:60]}"] += 1
        return None
    task, account = loaded.task, loaded.task.account
    assert account is not None
    sizes = task.splits
    assert account.used == sizes.train + sizes.validation + sizes.test
    assert account.seen == account.used + sum(each.files for each in account.left_out)
    assert seen is None or account.seen == seen, (account, seen)
    for each in account.left_out:
        assert sum(each.suffixes.values()) in (0, each.files), each
    rows = [row for split in SPLITS for row in loaded.indices[split]]
    assert len(rows) == len(set(rows)) == account.used
    assert len(loaded.keys) == len(set(loaded.keys)) == len(loaded.labels)
    assert len(task.classes) == len(set(task.classes)) >= 2
    assert sizes.train > 0
    assert sizes.validation > 0
    assert {int(loaded.labels[row]) for row in loaded.indices["train"]} == set(range(len(task.classes)))
    assert np.isfinite([*task.channel_mean, *task.channel_std]).all()
    SEEN[f"{kind}: used"] += 1
    return loaded


TAME = st.sampled_from([True, True, True, False, False])
"""Whether an example keeps to what is usual in all but a few things, so that it is likely to be used."""

# Folders

PARTS = st.sampled_from(
    [*["cat", "dog", "emu"] * 12, "train", "Test", "val", "dev", "unlabeled", "test_images", "seg_train", "seg_test",
     "@eaDir", ".git", "deep", "lost+found", "runs", "ü", "u\u0308", "a\nb", "\udcff", "~", "x" * 100, " "]
)  # fmt: skip
NAMES = st.sampled_from(
    ["a.png", "b.JPG", "c.png", "d.png", "e.jpeg", "IMG.0001", "photo", "f.heic", "g.dcm", "notes.txt", ".h.png",
     "Thumbs.db", "e.csv", "\udcff.png", "ü.png", "u\u0308.png", "\x1b[31m.png", "x.tif", "run.json", "-.gif"]
)  # fmt: skip
FILES = st.lists(st.tuples(st.lists(PARTS, max_size=2), NAMES, KINDS, st.integers(0, 400)), max_size=14)
REGULAR = st.one_of(
    st.lists(
        st.tuples(st.sampled_from(["", "train/", "test/", "val/"]), st.sampled_from(["cat", "dog", "emu"]), st.integers(1, 8)),
        max_size=6,
    ),
    st.sampled_from(
        [
            [("", "cat", 6), ("", "dog", 5)],
            [("", "cat", 6), ("", "dog", 5), ("", "emu", 2)],
            [("train/", "cat", 4), ("train/", "dog", 4), ("test/", "cat", 2), ("test/", "dog", 2)],
            [("Training/", "cat", 4), ("Training/", "dog", 4), ("dev/", "cat", 2), ("dev/", "dog", 2)],
        ]
    ),
)  # fmt: skip
LINKS = st.lists(
    st.tuples(PARTS, st.sampled_from(["cat", "train", "..", ".", "nowhere", "cat/a.png"])), max_size=3
)
SKIP = st.sampled_from(["skip", "skip", "refuse"])
FOLDER_OPTIONS = st.one_of(
    st.fixed_dictionaries({"on_bad_image": SKIP}),
    st.fixed_dictionaries(
        {"on_bad_image": SKIP},
        optional={
            "rare_classes": st.sampled_from(["drop", "merge", "keep"]),
            "min_per_class": st.integers(1, 6),
            "resolution": st.sampled_from([8, 16]),
            "channels": st.sampled_from([1, 3]),
        },
    ),
    st.fixed_dictionaries(
        {"on_bad_image": SKIP},
        optional={
            "split_from": st.sampled_from(
                ["none", "none", 1, 2, "train=cat,test=dog", "train=train", "(train|test)", "(", "x"]
            ),
            "classes_from": st.sampled_from([1, 1, 2, 3, "(cat|dog)", "(.)", "()", "x"]),
            "rare_classes": st.sampled_from(["drop", "merge", "keep"]),
            "group_from": st.sampled_from([r"(\d)", "(.*)/", "("]),
            "per_class": st.integers(1, 4),
        },
    ),
)


def a_folder(tame: bool, files: Any, regular: Any, links: Any, options: dict[str, Any]) -> None:
    """D4, D8, D9, D13: whatever lies in a folder, each file is counted once, and classes stand in the names."""
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as cache:
        root = Path(place) / "d"
        root.mkdir()
        if tame:
            regular = regular if len(regular) > 3 else [("", "cat", 6), ("", "dog", 5)]
            files = [
                (parents, *rest) for parents, *rest in files if {*parents} <= {"cat", "dog", "emu", "deep"}
            ]
            options = {**options, "on_bad_image": "skip", "rare_classes": "drop"}
            options.pop("group_from", None)
            options.pop("classes_from", None)
        number = 0
        for split, name, count in regular:
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                number += 1
                (root / split / name / f"{number:03d}.png").write_bytes(picture("colour", 1000 + number))
        for parents, name, kind, seed in files:
            _put(root, parents, name, OTHERS.get(kind, b"") if kind in OTHERS else picture(kind, seed))
        for name, target in links:
            if not os.path.lexists(root / name):
                (root / name).symlink_to(target)
        count = _files_below(root)
        given = dict(options)
        query = f"?per_class={given.pop('per_class')}" if "per_class" in given else ""
        spec = TaskSpec(dataset=f"{root}{query}", **given)
        loaded = judge("folder", spec, Path(cache), None if query else count)
        if loaded is not None:
            for key, label in zip(loaded.keys, loaded.labels, strict=True):
                name = loaded.task.classes[label] if label >= 0 else "other"
                assert name == "other" or name in key or "classes_from" in given, (key, name)
        plain = {key: value for key, value in given.items() if key in ("resolution", "channels")}
        found, _ = explore(TaskSpec(dataset=str(root), **plain), cache_root=Path(cache))
        assert found.account.seen == count
        assert found.task is not None or found.findings


def _put(root: Path, parents: list[str], name: str, content: bytes) -> None:
    folder = root
    for part in parents:
        folder = folder / part
        if folder.exists() and not folder.is_dir():
            return
        folder.mkdir(exist_ok=True)
    if not (folder / name).is_dir():
        (folder / name).write_bytes(content)


def _files_below(root: Path) -> int:
    """Everything that is no real folder, as the operating system lists it."""
    count = 0
    for folder, names, files in os.walk(root):
        count += len(files) + sum((Path(folder) / name).is_symlink() for name in names)
    return count


# Tables

CELLS = st.one_of(
    st.sampled_from(
        ["00.png", "01.png", "02.png", "03.png", "04.png", "05", "./06.png", "a/../07.png", "../x.png", "/etc/passwd",
         "s3://b/1.png", "08.PNG", "", " ", "nan", "cat", "dog", "emu", "0", "1", "1.0", "0.25", "train", "VAL", "test",
         "=1", "é", "e\u0301", "a;b", 'q"q', "\x1b[1m", "\ud7ff", "p1", "p2"]
    ),
    st.text(max_size=6),
)  # fmt: skip
HEADERS = st.lists(
    st.sampled_from(["file", "label", "class", "image", "path", "id", "split", "set", "group", "patient", "weight", "x",
                     "", "File Name", "LABEL", "file"]), min_size=1, max_size=5
)  # fmt: skip
GOOD_ROWS = st.one_of(
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["cat", "dog", "emu"])), max_size=12),
    st.permutations([(n, ("cat", "dog")[n % 2]) for n in range(12)]),
)
TABLES = st.fixed_dictionaries(
    {
        "header": st.one_of(st.sampled_from([["file", "label"], ["file", "label", "split"], ["image", "class", "patient"]]), HEADERS),
        "rows": st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=5),
        "good": GOOD_ROWS,
        "mark": st.sampled_from([",", ";", "\t", "|"]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
        "form": st.sampled_from(["csv", "csv", "tsv", "jsonl"]),
        "regular": st.sampled_from([True, True, False]),
        "skip": st.booleans(),
        "columns": st.dictionaries(
            st.sampled_from(["file", "label", "split", "group", "weight"]),
            st.sampled_from(["file", "label", "x", "split"]), max_size=2,
        )
        .map(lambda found: {} if len(found) > 1 else found),
        "damage": st.tuples(st.integers(-1200, 400), st.binary(min_size=1, max_size=3)),
    }
)  # fmt: skip


def a_table(tame: bool, made: dict[str, Any]) -> None:
    """D5: whatever a table says, each image has one label that a row gave it, or is counted."""
    if tame:
        good = (
            made["good"]
            if len({number for number, _ in made["good"]}) > 9
            else [(n, "cat" if n % 2 else "dog") for n in range(12)]
        )
        header = made["header"] if made["header"] == ["image", "class", "patient"] else ["file", "label"]
        made = {**made, "good": good, "damage": (-1, b""), "columns": {}, "skip": True, "header": header}
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "p"
        photos.mkdir()
        for number in range(12):
            (photos / f"{number:02d}.png").write_bytes(picture("colour", 2000 + number))
        header = ["file", "label"] if made["regular"] else made["header"]
        more = ["train" if "split" in header else "p1"] * (len(header) - 2)
        rows = [[f"{number:02d}.png", label, *more] for number, label in made["good"]]
        rows += [(row + row)[: len(header)] for row in made["rows"]] if not made["regular"] else []
        if made["form"] == "jsonl":
            text = "\n".join(json.dumps(dict(zip(header, row, strict=False))) for row in rows)
        else:
            text = "\n".join(made["mark"].join(row) for row in [header, *rows])
        raw = text.encode(made["encoding"], "replace")
        if made["damage"][0] >= 0:
            at, more = made["damage"]
            raw = raw[:at] + more + raw[at + 1 :]
        table = Path(place) / f"t.{made['form']}"
        table.write_bytes(raw)
        spec = TaskSpec(
            dataset=str(table), images=str(photos), columns=TableColumns(**made["columns"]), resolution=8,
            on_bad_image="skip" if made["skip"] else "refuse",
        )  # fmt: skip
        loaded = judge("table", spec, Path(place) / "c", None)
        if loaded is None:
            return
        assert set(loaded.keys) <= {path.name for path in photos.iterdir()}
        if made["regular"] and made["damage"][0] < 0 and not made["columns"]:
            given: dict[str, set[str]] = {}
            for number, label in made["good"]:
                given.setdefault(f"{number:02d}.png", set()).add(label)
            for key, label in zip(loaded.keys, loaded.labels, strict=True):
                assert given[key] == {loaded.task.classes[label]}, key


# Arrays

DTYPES = st.sampled_from(
    [
        *["u1"] * 6,
        "<f4",
        "i1",
        "<u2",
        ">u2",
        "<i4",
        ">i8",
        "<u8",
        "<f2",
        ">f4",
        "<f8",
        ">f8",
        "?",
        "<c8",
        "S3",
        "O",
        "<U2",
        "<M8[s]",
    ]
)
VALUES = st.sampled_from(
    [
        "bytes",
        "bytes",
        "bytes",
        "unit",
        "unit",
        "12 bits",
        "16 bits",
        "signed",
        "huge",
        "constant",
        "nan",
        "inf",
        "tiny",
    ]
)
SHAPES = st.sampled_from(
    [
        *[(8, 8)] * 8,
        (5, 7),
        (8, 8, 1),
        (8, 8, 3),
        (8, 8, 4),
        (3, 8, 8),
        (8, 8, 2),
        (12,),
        (192,),
        (0, 4),
        (),
        (1, 1),
    ]
)
LABELS = st.sampled_from(
    [
        *["numbers", "names"] * 4,
        "column",
        "one-hot",
        "names",
        "floats",
        "halves",
        "objects",
        "short",
        "one",
        "nan",
        "bytes",
    ]
)
PAIRS = st.sampled_from(
    ["images|labels", "images|labels", "x_train|y_train", "train_images|train_labels", "data|target"]
)
ARRAYS = st.fixed_dictionaries(
    {
        "dtype": DTYPES,
        "values": VALUES,
        "shape": SHAPES,
        "labels": LABELS,
        "pair": PAIRS,
        "second": st.sampled_from([None, "val", "test", "valid", "training"]),
        "count": st.sampled_from([0, 1, 5, *range(12, 20)]),
        "seed": st.integers(0, 99),
        "option": st.sampled_from([*[""] * 8, "?shape=8x8x3", "?shape=3x2x2", "?range=0..4095", "?range=0..1", "?range=x", "?per_class=2"]),
        "skip": st.booleans(),
        "classes": st.sampled_from([*[None] * 8, ["a", "b", "c"], ["a"], ["a", "a", "b"], ["", "b", "c"], ["\x1b", "b", "c"]]),
        "groups": st.sampled_from([*[None] * 8, "each", "one", "short"]),
        "damage": st.one_of(st.tuples(st.integers(-12000, 3000), st.binary(min_size=1, max_size=8))),
    }
)  # fmt: skip


def _values(made: dict[str, Any], count: int) -> Any:
    rng = np.random.default_rng(made["seed"])
    unit = rng.random((count, *made["shape"]))
    what = {
        "unit": unit, "bytes": np.rint(unit * 255), "12 bits": np.rint(unit * 4095), "16 bits": np.rint(unit * 65535),
        "signed": unit * 2 - 1, "huge": unit * 1e30 - 5e29, "constant": np.zeros_like(unit), "tiny": unit * 1e-9,
        "nan": np.where(unit < 0.01, np.nan, unit), "inf": np.where(unit < 0.01, np.inf, unit),
    }[made["values"]]  # fmt: skip
    with np.errstate(all="ignore"):
        return (
            np.nan_to_num(what).astype("<i8").astype(made["dtype"])
            if made["dtype"] == "<M8[s]"
            else what.astype(made["dtype"])
        )


def _labels(kind: str, count: int) -> Any:
    numbers = np.arange(count) % 3
    return {
        "numbers": numbers, "column": numbers[:, None], "one-hot": np.eye(3)[numbers], "names": np.array(["a", "b", "é"])[numbers],
        "floats": numbers.astype(float), "halves": numbers / 2, "objects": numbers.astype(object),
        "short": numbers[:-1], "one": numbers * 0, "nan": np.where(numbers == 1, np.nan, numbers), "bytes": numbers.astype("S2"),
    }[kind]  # fmt: skip


def an_array(tame: bool, made: dict[str, Any]) -> None:
    """D1, D6, D13, D20: whatever arrays hold, labels are as they stand there, and byte order changes nothing."""
    if tame:
        clean = {
            "damage": (-1, b""),
            "classes": None,
            "groups": None,
            "option": "",
            "count": max(14, made["count"]),
        }
        shape = made["shape"] if len(made["shape"]) > 1 and 0 not in made["shape"] else (8, 8)
        labels = made["labels"] if made["labels"] in ("column", "floats", "bytes") else "names"
        pair = "images|labels" if made["pair"] == "data|target" else made["pair"]
        made = {**made, **clean, "shape": shape, "labels": labels, "pair": pair}
    with tempfile.TemporaryDirectory() as place:
        count = made["count"]
        values, labels = _values(made, count), _labels(made["labels"], count)
        spec_of = lambda name: TaskSpec(  # noqa: E731
            dataset=f"{Path(place) / name}{made['option']}",
            resolution=8,
            on_bad_image="skip" if made["skip"] else "refuse",
        )
        images_name, labels_name = made["pair"].split("|")
        arrays = {images_name: values, labels_name: labels}
        if made["second"] is not None:
            arrays[images_name.replace("train", made["second"])] = values[::-1]
            arrays[labels_name.replace("train", made["second"])] = labels[::-1]
        if made["classes"] is not None:
            arrays["classes"] = np.array(made["classes"])
        if made["groups"] is not None:
            arrays["groups"] = {"each": np.arange(count), "one": np.zeros(count), "short": np.arange(1)}[
                made["groups"]
            ]
        path = Path(place) / "a.npz"
        np.savez(path, **arrays)
        if made["damage"][0] >= 0:
            at, more = made["damage"]
            raw = path.read_bytes()
            path.write_bytes(raw[:at] + more + raw[at + len(more) :])
        loaded = judge("array", spec_of("a.npz"), Path(place) / "c", None)
        if made["damage"][0] >= 0:
            return
        if loaded is not None and made["classes"] is None:
            flat = np.concatenate(
                [arrays[name].ravel() for name in arrays if name.replace("y_", "label").find("label") >= 0]
            )
            for key, label in zip(loaded.keys, loaded.labels, strict=True):
                at = int(key[key.index("[") + 1 : -1])
                said = {
                    str(value).removesuffix(".0") for value in (labels.ravel()[at], labels[::-1].ravel()[at])
                }
                assert loaded.task.classes[label] in said, (key, said, flat)
        if values.dtype.kind in "uif" and values.dtype.itemsize > 1:
            name = images_name
            arrays[name] = values.astype(values.dtype.newbyteorder("S"))
            np.savez(Path(place) / "b.npz", **arrays)
            other = judge("array", spec_of("b.npz"), Path(place) / "c2", None)
            assert (loaded is None) == (other is None)
            if loaded is not None and other is not None:
                assert np.array_equal(loaded.images[:], other.images[:])
                assert loaded.task.fingerprint == other.task.fingerprint
