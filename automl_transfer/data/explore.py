"""What a dataset holds, before anything is trained on it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from automl_transfer.data.accounting import account_of_files
from automl_transfer.data.base import NoTaskError
from automl_transfer.data.cache import CachedImages
from automl_transfer.data.decode_all import Progress
from automl_transfer.data.far import Far
from automl_transfer.data.registry import parse
from automl_transfer.data.task import LoadedDetails, LoadedTask, load_with_details
from automl_transfer.domain.account import Account
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strict_json import Frozen
from automl_transfer.domain.task import SPLITS, Split, Task

LISTED = 50
"""Groups of duplicates that are listed; all are counted."""


class ClassCount(Frozen):
    """Images of one class in each split."""

    name: str
    train: int
    validation: int
    test: int


class SizeRange(Frozen):
    """Smallest, median and largest stored size in pixels, each side on its own."""

    width: tuple[int, float, int]
    height: tuple[int, float, int]
    distinct: int


class DuplicateGroup(Frozen):
    """Images with exactly the same pixels at the working resolution."""

    keys: tuple[str, ...]
    splits: tuple[Split, ...]
    classes: tuple[str, ...]


class Duplicates(Frozen):
    """Exact duplicates among the images in splits.

    Attributes:
        extra_images: Images that could go without losing any content.
        within_splits: Groups that lie in one split.
        across_splits: Groups that lie in several: what is tested was trained on.
        conflicting: Groups whose images have different labels.
        groups: The first groups; across splits first, then conflicting ones.
    """

    extra_images: int
    within_splits: int
    across_splits: int
    conflicting: int
    groups: tuple[DuplicateGroup, ...]


class SkippedImage(Frozen):
    """An image that cannot be used, with the reason."""

    key: str
    reason: str


class FolderCount(Frozen):
    """Images anywhere below one top folder; `.` is the dataset's own."""

    name: str
    images: int


class Exploration(Frozen):
    """Everything `explore` computes; `model_dump_json()` is its JSON form.

    Attributes:
        name: The dataset's.
        findings: What a search would refuse it for, and what to do; none for a dataset that can be used.
        account: What became of every file; odd images; notes.
        task: Classes, sizes of the splits, channel mean and deviation of the training split. None where
            the files make no task; then the attributes below are empty, and `folders` says what lies where.
        images: Readable images; `unused` of them are in no split.
        imbalance: Training images of the largest class over those of the smallest that has any.
        skipped: Images that were meant to be used and cannot be.
    """

    name: str
    findings: tuple[str, ...] = ()
    account: Account
    task: Task | None = None
    images: int = 0
    unused: int = 0
    classes: tuple[ClassCount, ...] = ()
    imbalance: float | None = None
    sizes: SizeRange | None = None
    duplicates: Duplicates | None = None
    skipped: tuple[SkippedImage, ...] = ()
    folders: tuple[FolderCount, ...] = ()


def explore(
    spec: TaskSpec,
    *,
    data_root: Path | None = None,
    cache_root: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Exploration, LoadedTask | None]:
    """Describe a dataset; what a search would refuse is a finding, not an error.

    Returns:
        The description, and the task itself (for the contact sheet); None where the files make none.

    Raises:
        DataError: There is no such dataset, or an option is wrong; for other datasets than folders, what
            `load_task` refuses too.
        OutputError: As `load_task`.
    """
    try:
        details = load_with_details(
            spec, data_root=data_root, cache_root=cache_root, progress=progress, describe=True
        )
    except NoTaskError as error:
        _, folder, _ = parse(spec.dataset, data_root, Far(cache_root, progress))
        if folder is None or not folder.is_dir():
            raise
        account, tops = account_of_files(folder)
        found = Exploration(
            name=folder.name or folder.resolve().name,
            findings=(str(error).splitlines()[0],),
            account=account,
            folders=tuple(FolderCount(name=name, images=images) for name, images in tops.items()),
        )
        return found, None
    return describe(details), details.loaded


def describe(details: LoadedDetails) -> Exploration:
    """The statistics of a loaded task."""
    loaded, cached = details.loaded, details.cached
    classes = len(loaded.task.classes)
    counts = {s: np.bincount(loaded.labels[loaded.indices[s]], minlength=classes) for s in SPLITS}
    used = sum(len(rows) for rows in loaded.indices.values())
    heights, widths = cached.sizes[:, 0], cached.sizes[:, 1]
    trained = counts["train"][counts["train"] > 0]
    return Exploration(
        name=loaded.task.name,
        findings=details.findings,
        account=loaded.task.account or Account(seen=used, used=used),
        task=loaded.task,
        images=len(loaded.labels),
        unused=len(loaded.labels) - used,
        classes=tuple(
            ClassCount(name=name, **{split: int(counts[split][label]) for split in SPLITS})
            for label, name in enumerate(loaded.task.classes)
        ),
        imbalance=float(trained.max() / trained.min()),
        sizes=SizeRange(
            width=(int(widths.min()), float(np.median(widths)), int(widths.max())),
            height=(int(heights.min()), float(np.median(heights)), int(heights.max())),
            distinct=len(np.unique(cached.sizes, axis=0)),
        ),
        duplicates=_duplicates(loaded, cached),
        skipped=tuple(SkippedImage(key=bad.key, reason=bad.reason) for bad in loaded.skipped),
    )


def _duplicates(loaded: LoadedTask, cached: CachedImages) -> Duplicates:
    rows_of: dict[bytes, list[tuple[int, Split]]] = defaultdict(list)
    for split in SPLITS:
        for row in loaded.indices[split]:
            rows_of[cached.digests[row].tobytes()].append((int(row), split))
    groups = [
        DuplicateGroup(
            keys=tuple(loaded.keys[row] for row, _ in members),
            splits=tuple(split for _, split in members),
            classes=tuple(loaded.task.classes[loaded.labels[row]] for row, _ in members),
        )
        for members in rows_of.values()
        if len(members) > 1
    ]
    across = [group for group in groups if len(set(group.splits)) > 1]
    conflicting = [group for group in groups if len(set(group.classes)) > 1]
    ordered = sorted(groups, key=lambda g: (len(set(g.splits)) == 1, len(set(g.classes)) == 1, g.keys))
    return Duplicates(
        extra_images=sum(len(group.keys) - 1 for group in groups),
        within_splits=len(groups) - len(across),
        across_splits=len(across),
        conflicting=len(conflicting),
        groups=tuple(ordered[:LISTED]),
    )
