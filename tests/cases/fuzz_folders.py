"""Folders made at random."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from fuzz_judging import KINDS, OTHERS, judge, picture
from hypothesis import strategies as st

from automl_transfer.data.explore import explore
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import DataError

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
        try:
            found, _ = explore(TaskSpec(dataset=str(root), **plain), cache_root=Path(cache))
        except DataError:  # pixels of two scales: nothing can be said of these images as one dataset
            assert {kind for _, _, kind, _ in files} & {"deep", "float"}
            return
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
