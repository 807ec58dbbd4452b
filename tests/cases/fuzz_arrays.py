"""Arrays made at random."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_judging import judge
from hypothesis import strategies as st

from automl_transfer.domain.spec import TaskSpec

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
        if made["second"] is not None and "train" in images_name:
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
        loaded = judge("npz", spec_of("a.npz"), Path(place) / "c", None)
        if made["damage"][0] >= 0:
            return
        if loaded is not None and made["classes"] is None:
            for key, label in zip(loaded.keys, loaded.labels, strict=True):
                at = int(key[key.index("[") + 1 : -1])
                texts = labels.astype(str) if labels.dtype.kind in "SO" else labels
                said = {
                    str(value).removesuffix(".0") for value in (texts.ravel()[at], texts[::-1].ravel()[at])
                }
                assert loaded.task.classes[label] in said, (key, said)
        if values.dtype.kind in "uif" and values.dtype.itemsize > 1:
            name = images_name
            arrays[name] = values.astype(values.dtype.newbyteorder("S"))
            np.savez(Path(place) / "b.npz", **arrays)
            other = judge("npz", spec_of("b.npz"), Path(place) / "c2", None)
            assert (loaded is None) == (other is None)
            if loaded is not None and other is not None:
                assert np.array_equal(loaded.images[:], other.images[:])
                assert loaded.task.fingerprint == other.task.fingerprint
