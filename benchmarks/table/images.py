"""The table's tasks: few and small images, so that a strategy trains in seconds.

All have one split, by seed 0: at most 600 images to train on, 200 to validate on and 400 to test on; fewer to
train on where a solved head would have everything right. Photographs
(`signs`, `tiles`, `clothing`) are read from a folder that is given, drawings and textures of Debian's packages
from what `benchmarks/photos/tasks.py` made of them; the others come with the project's dependencies.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "photos"))

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import SplitFractions, TaskSpec
from automl_transfer.domain.task import SplitSizes

MOST = {"train": 600, "validation": 200, "test": 400}
SPLITS = SplitFractions(train=0.5, validation=0.2, test=0.3)
FACES = SplitFractions(train=0.4, validation=0.25, test=0.35)

TASKS: dict[str, dict[str, Any]] = {
    "digits-20": {"dataset": "digits?per_class=20", "resolution": 32},
    "mnist-600": {"dataset": "mnist5k", "resolution": 32},
    "textures-16": {
        "dataset": "textures?patch=16", "resolution": 32, "train": 60, "label_preserving": ("mirror", "rotate"),
    },
    "faces": {
        "dataset": "", "resolution": 32, "train": 16, "label_preserving": ("mirror",), "splits": FACES,
    },
    "signs": {"photos": "signs", "resolution": 48},
    "tiles": {"photos": "tiles", "resolution": 48},
    "clothing": {"photos": "clothing", "resolution": 64},
    "stamps": {"photos": "stamps", "resolution": 64},
    "openclipart": {"photos": "openclipart-png", "resolution": 48},
    "ufoai": {"photos": "ufoai-textures", "resolution": 48},
}  # fmt: skip
"""Dataset, or a task of the photographs', pixels a side, and training images where fewer than `MOST`."""
GIVEN = ("signs", "tiles", "clothing")


def spec_of(name: str, data: Path, photos: Path | None) -> TaskSpec:
    """The task as a specification; files that it needs are made below `data`."""
    settings = {key: value for key, value in TASKS[name].items() if key != "train"}
    if (photograph := settings.pop("photos", None)) is not None:
        from tasks import TASKS as PHOTOS
        from tasks import table

        file, root = table(photograph, 0, photos)
        settings |= {"dataset": str(file), "images": str(root), "label_preserving": PHOTOS[photograph].flips}
    elif name == "faces":
        settings["dataset"] = str(_faces(data / "faces.npz"))
    return TaskSpec.model_validate({"splits": SPLITS, "on_bad_image": "skip", **settings})


def _faces(file: Path) -> Path:
    """scikit-image's 100 faces and 100 patches without one, 25 pixels a side."""
    if not file.exists():
        stored = np.load(str(distribution("scikit-image").locate_file("skimage/data/lfw_subset.npy")))
        images = np.rint(255.0 * stored).astype(np.uint8)
        labels = np.repeat(["face", "other"], len(images) // 2)
        part = file.with_name("faces.part.npz")
        np.savez(part, images=images, labels=labels)
        part.replace(file)
    return file


def load(name: str, spec: TaskSpec, cache: Path) -> LoadedTask:
    """Its images, with as many in each split as the table uses: of every class the same share."""
    whole = load_task(spec, cache_root=cache)
    most = {**MOST, "train": TASKS[name].get("train", MOST["train"])}
    indices = {split: _some(rows, whole.labels, most[split]) for split, rows in whole.indices.items()}
    digest = hashlib.sha256(whole.task.fingerprint.encode())
    for rows in indices.values():
        digest.update(rows.astype("<i8").tobytes())
    sizes = SplitSizes(**{split: len(rows) for split, rows in indices.items()})
    task = whole.task.model_copy(update={"splits": sizes, "fingerprint": digest.hexdigest()})
    return dataclasses.replace(whole, task=task, indices=indices)


def _some(rows: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """At most so many of these rows, the same ones always; each class keeps its share, to a row."""
    if len(rows) <= most:
        return rows
    generator = np.random.default_rng(len(rows))
    shuffled = generator.permutation(rows)
    place = np.empty(len(rows))
    for label in np.unique(labels[shuffled]):
        there = np.flatnonzero(labels[shuffled] == label)
        place[there] = (np.arange(len(there)) + 0.5) / len(there)
    return np.sort(shuffled[np.argsort(place, kind="stable")[:most]])
