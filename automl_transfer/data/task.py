"""Loading a task: from a dataset's name to decoded images, labels and splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from automl_transfer.data.base import BadImage, Inventory, Pixels, Rows, some
from automl_transfer.data.cache import CachedImages, default_cache_root, open_images
from automl_transfer.data.decode_all import Progress
from automl_transfer.data.registry import open_dataset
from automl_transfer.data.splits import assign, few_images
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import SPLITS, Split, SplitSizes, Task
from automl_transfer.errors import DataError

__all__ = ["BadImage", "LoadedTask", "load_task"]


@dataclass(frozen=True)
class LoadedTask:
    """A task with its images.

    Attributes:
        task: The plain value that travels with results.
        images: uint8 (N, H, W, C), memory-mapped from the image cache, read-only.
        labels: int64 (N,), positions in `task.classes`.
        indices: Sorted row numbers, int64, of each split. Rows in no split are not used: few-image
            versions have them.
        keys: Relative name of each image, with forward slashes.
        skipped: Images that were left out, with the reasons.
        groups: What each image belongs to (a patient, an object), where the task says so.
        notes: What was decided or left out while the dataset was read, each a sentence for people.
    """

    task: Task
    images: Pixels
    labels: Rows
    indices: Mapping[Split, Rows]
    keys: tuple[str, ...]
    skipped: tuple[BadImage, ...] = ()
    groups: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedDetails:
    """What the cache knows beyond the task: for statistics, not for training."""

    loaded: LoadedTask
    cached: CachedImages


def load_task(
    spec: TaskSpec,
    *,
    data_root: Path | None = None,
    cache_root: Path | None = None,
    progress: Progress | None = None,
) -> LoadedTask:
    """List, decode (once) and split a dataset.

    Args:
        spec: Dataset, resolution, splits.
        data_root: Relative dataset folders are looked for here first, then in the current directory.
        cache_root: Folder of decoded images; the user's cache folder by default.
        progress: Called as `progress(what, done, total)` while images are decoded.

    Raises:
        DataError: The dataset, its images, labels or splits cannot be used.
        OutputError: The cache folder cannot be written, or the disk is full.
    """
    return load_with_details(spec, data_root=data_root, cache_root=cache_root, progress=progress).loaded


def load_with_details(
    spec: TaskSpec, *, data_root: Path | None, cache_root: Path | None, progress: Progress | None
) -> LoadedDetails:
    """Like `load_task`, with what the cache knows about each image."""
    opened = open_dataset(spec, data_root)
    inventory = opened.inventory
    _refuse_too_few(inventory)
    # Mistakes in labels and groups are cheap to find: before hours of decoding.
    assign(
        inventory.labels,
        inventory.classes,
        spec.splits,
        spec.seed,
        groups=inventory.groups,
        declared=inventory.splits,
    )
    cached = open_images(
        inventory,
        channels=spec.channels,
        resolution=spec.resolution,
        cache_root=cache_root or default_cache_root(),
        progress=progress,
    )
    skipped = inventory.outside + cached.bad
    if skipped and spec.on_bad_image == "refuse":
        listed = "\n".join(f"  {bad.key}: {bad.reason}" for bad in skipped[:20])
        more = f"\n  and {len(skipped) - 20} more" if len(skipped) > 20 else ""
        raise DataError(
            f"every image must be readable and in a class, got {len(skipped)} of "
            f"{len(inventory.keys) + len(inventory.outside)} in {opened.name} that are not: repair or remove "
            f"them, or leave them out with --on-bad-image skip\n{listed}{more}"
        )
    rows = cached.rows
    labels = inventory.labels[rows]
    groups = None if inventory.groups is None else tuple(inventory.groups[row] for row in rows)
    indices = assign(
        labels,
        inventory.classes,
        spec.splits,
        spec.seed,
        groups=groups,
        declared=None if inventory.splits is None else [inventory.splits[row] for row in rows],
    )
    if opened.per_class is not None:
        indices = few_images(indices, labels, opened.per_class, spec.seed)
    mean, std = channel_statistics(cached, indices["train"])
    task = Task(
        name=opened.name,
        fingerprint=_fingerprint(inventory, cached, labels, indices),
        classes=inventory.classes,
        splits=SplitSizes(**{split: len(indices[split]) for split in SPLITS}),
        channels=3 if cached.images.shape[3] == 3 else 1,
        resolution=cached.images.shape[1],
        pixel_range=cached.pixel_range,
        channel_mean=mean,
        channel_std=std,
        metric=spec.metric,
    )
    keys = tuple(inventory.keys[row] for row in rows)
    loaded = LoadedTask(task, cached.images, labels, indices, keys, skipped, groups, inventory.notes)
    return LoadedDetails(loaded, cached)


def channel_statistics(cached: CachedImages, rows: Rows) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of [0, 1] pixels, exact for any number of images."""
    sums = cached.moments[rows].sum(axis=0)
    count = len(rows) * cached.images.shape[1] * cached.images.shape[2]
    pairs = [(int(total), int(squares)) for total, squares in sums]
    mean = tuple(total / count / 255.0 for total, _ in pairs)
    # Integers of any size in Python: no cancellation.
    std = tuple(((count * squares - total**2) / count**2) ** 0.5 / 255.0 for total, squares in pairs)
    return mean, std


def _refuse_too_few(inventory: Inventory) -> None:
    if len(inventory.classes) < 2:
        raise DataError(
            f"a dataset must have at least two classes, got {len(inventory.classes)} "
            f"({some(inventory.classes)}) in {inventory.name}: a folder needs one subfolder a class, "
            "a table a label for each image"
        )
    if len(set(inventory.classes)) < len(inventory.classes):
        raise DataError(f"class names must differ, got {some(inventory.classes)} in {inventory.name}")


def _fingerprint(
    inventory: Inventory, cached: CachedImages, labels: Rows, indices: Mapping[Split, Rows]
) -> str:
    """Sha256 over classes, labels, splits and pixels: no name, no path, no time."""
    digest = hashlib.sha256()
    digest.update(json.dumps([inventory.classes, cached.images.shape]).encode())
    digest.update(labels.astype("<i8").tobytes())
    for split in SPLITS:
        digest.update(f"\n{split} {len(indices[split])}\n".encode())
        digest.update(indices[split].astype("<i8").tobytes())
    digest.update(cached.digests.tobytes())
    return digest.hexdigest()
