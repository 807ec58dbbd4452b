"""Loading a task: from a dataset's name to decoded images, labels and splits."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from automl_transfer.data.accounting import account_of
from automl_transfer.data.base import BadImage, Inventory, NoTaskError, Pixels, Rows, some
from automl_transfer.data.cache import CachedImages, default_cache_root, open_images
from automl_transfer.data.decode_all import Progress
from automl_transfer.data.exclude import apply_exclusions, read_exclusions
from automl_transfer.data.far import Far
from automl_transfer.data.larger import Larger
from automl_transfer.data.rare import settle
from automl_transfer.data.registry import open_dataset
from automl_transfer.data.splits import few_images
from automl_transfer.data.together import group_numbers_of, grouping_of, together_of, twins_of
from automl_transfer.data.unlabelled import NO_UNLABELLED, Unlabelled, unlabelled_of
from automl_transfer.data.weights import Weights, said, summary, trained
from automl_transfer.domain.account import Reason, counted
from automl_transfer.domain.names import classes_mistake, name_mistake
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import LARGEST_SIDE, SPLITS, Split, SplitSizes, Task, scaled
from automl_transfer.errors import DataError

__all__ = ["BadImage", "LoadedTask", "load_task"]

LISTED = 20
"""Images that are named where a dataset is refused; all are counted."""

NEARLY_ALL = 0.9
"""From this share of unusable images on, a dataset is refused even where bad images are skipped."""


@dataclass(frozen=True)
class LoadedTask:
    """A task with its images.

    Attributes:
        task: The plain value that travels with results.
        images: uint8 (N, H, W, C), memory-mapped from the image cache, read-only.
        labels: int64 (N,), positions in `task.classes`; -1 for images of a class that is left out.
        indices: Sorted row numbers, int64, of each split. Rows in no split are not used: few-image
            versions have them, and datasets without their rare classes.
        keys: Relative name of each image, with forward slashes.
        skipped: Images that were meant to be used and cannot be, with the reasons; `task.account` counts
            them, and everything else that is not used.
        groups: What each image belongs to (a patient, an object), where the task says so.
        training_only: Sorted rows that no split may validate or test on: images of rare classes.
        enlarged: Gives the same rows with more pixels, to crop from; None where they have no more.
        unlabelled: Images without a label, for preparations; not among `images`.
        twins: The same number for images of the same pixels, int64 (N,); None where all differ.
        weights: How often each image counts in training; None: once. No row of the training split has 0.
        larger: The same images decoded at larger sides; None where there are no files behind them.
        detail: Whether `images` are such, larger than `task` states.
    """

    task: Task
    images: Pixels
    labels: Rows
    indices: Mapping[Split, Rows]
    keys: tuple[str, ...]
    skipped: tuple[BadImage, ...] = ()
    groups: tuple[str, ...] | None = None
    training_only: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    enlarged: Callable[[], Pixels | None] = lambda: None
    unlabelled: Unlabelled = NO_UNLABELLED
    twins: Rows | None = None
    weights: Weights | None = None
    larger: Larger | None = None
    detail: bool = False

    @property
    def side(self) -> int:
        """Height and width of `images`."""
        return int(self.images.shape[1])

    @property
    def stored_size(self) -> tuple[float, float]:
        """Median width and height of the images as they are stored, in pixels."""
        return self.larger.stored_size if self.larger is not None else (float(self.side), float(self.side))

    def has_detail(self, scale: float) -> bool:
        """Whether enough files have the pixels of images so many times as large as the task states."""
        side = scaled(self.task.resolution, scale)
        return scale > 1.0 and side <= LARGEST_SIDE and self.larger is not None and self.larger.has(side)

    def in_detail(self, scale: float) -> LoadedTask:
        """The same task with images that are decoded so many times as large; itself where they are.

        Everything that it states stays: name, fingerprint, resolution, splits, normalisation.

        Raises:
            OutputError: The larger images cannot be kept.
            DataError: The files have changed.
        """
        if self.detail or self.larger is None:
            return self
        found = self.larger.at(scaled(self.task.resolution, scale))
        return replace(
            self, images=found.images, enlarged=found.enlarged, unlabelled=found.unlabelled, detail=True
        )

    def read_by(self, strategy: Strategy) -> LoadedTask:
        """The task as a strategy reads it: in detail where it asks for that and the files have it.

        Raises:
            OutputError, DataError: As `in_detail`.
        """
        wanted = strategy.detail and self.has_detail(strategy.resolution_scale)
        return self.in_detail(strategy.resolution_scale) if wanted else self

    def still(self, scale: float) -> float:
        """By which factor a network has to resize `images` where a strategy names this one."""
        return 1.0 if self.detail else scale

    @functools.cached_property
    def together(self) -> Rows | None:
        """A number for each image, the same one for those that belong together (`data.together`); or None."""
        return together_of(self.groups, self.twins)

    def to_train(self, rows: Rows) -> Rows:
        """Those of the rows that may be trained on: images of weight 0 may not."""
        return rows if self.weights is None else rows[self.weights[rows] > 0.0]


@dataclass(frozen=True)
class LoadedDetails:
    """What the cache knows beyond the task: for statistics, not for training.

    Attributes:
        findings: What a search would refuse, where the dataset was loaded to be described.
        inventory: What was decoded; None for arrays.
    """

    loaded: LoadedTask
    cached: CachedImages
    findings: tuple[str, ...] = ()
    inventory: Inventory | None = None


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
    spec: TaskSpec,
    *,
    data_root: Path | None,
    cache_root: Path | None,
    progress: Progress | None,
    describe: bool = False,
    expected: PixelRange | None = None,
) -> LoadedDetails:
    """Like `load_task`, with what the cache knows about each image; `expected` as for `open_dataset`.

    With `describe`, what a search would refuse is found and said, as far as there is a task at all.
    """
    listed = None if spec.exclude is None else read_exclusions(spec.exclude, data_root)
    opened = open_dataset(spec, data_root, expected, Far(cache_root, progress))
    inventory = opened.inventory
    _refuse_too_few(inventory)
    # Mistakes in labels and groups are cheap to find: before hours of decoding.
    try:
        settle(
            inventory.labels,
            inventory.classes,
            spec,
            groups=inventory.groups,
            declared=inventory.splits,
            describe=describe,
        )
    except DataError as error:  # what was decided while reading may be why
        error.args = ("\n  ".join([str(error), *inventory.notes[:3]]),)
        raise
    cached = open_images(
        inventory,
        channels=spec.channels,
        resolution=spec.resolution,
        cache_root=cache_root or default_cache_root(),
        progress=progress,
    )
    skipped = inventory.outside + cached.bad
    refused = _refusals(inventory, skipped, opened.name, spec.on_bad_image == "skip")
    if refused and not describe:
        raise DataError("\n".join(refused))
    rows = cached.rows
    groups = None if inventory.groups is None else tuple(inventory.groups[row] for row in rows)
    twins = twins_of(cached.digests, cached.blank)
    settled = settle(
        inventory.labels[rows],
        inventory.classes,
        spec,
        groups=groups,
        declared=None if inventory.splits is None else [inventory.splits[row] for row in rows],
        together=together_of(groups, twins),
        describe=describe,
    )
    labels, weights = settled.labels, said(None if inventory.weights is None else inventory.weights[rows])
    indices, unlearnt = trained(settled.indices, weights, labels, settled.classes)
    if unlearnt and not describe:
        raise NoTaskError(unlearnt)
    if opened.per_class is not None:
        indices = few_images(indices, labels, opened.per_class, spec.seed)
    keys = tuple(inventory.keys[row] for row in rows)
    excluded = None
    if listed is not None:  # after the splits: what is not listed stays where it is
        known = {each.key for each in skipped} | {each.key for each in inventory.left_out}
        excluded = apply_exclusions(listed, keys, known, indices, weights)
        weights = said(excluded.weights)
        indices, more = trained(excluded.indices, weights, labels, settled.classes)
        unlearnt = unlearnt or more
        if unlearnt and not describe:
            raise NoTaskError(unlearnt)
    mean, std = channel_statistics(cached, indices["train"])
    counted_by = summary(weights, indices["train"])
    left_out = None if excluded is None else excluded.summary
    notes = (*opened.notes, *(each.describe() for each in (left_out, counted_by) if each is not None))
    task = Task(
        name=opened.name,
        fingerprint=_fingerprint(settled.classes, cached, labels, indices, weights),
        classes=settled.classes,
        splits=SplitSizes(**{split: len(indices[split]) for split in SPLITS}),
        channels=3 if cached.images.shape[3] == 3 else 1,
        resolution=cached.images.shape[1],
        pixel_range=cached.pixel_range,
        fit=spec.fit,
        channel_mean=mean,
        channel_std=std,
        metric=spec.metric,
        account=account_of(
            inventory, cached, settled, indices, notes, None if excluded is None else excluded.out
        ),
        weights=counted_by,
        grouping=grouping_of(groups),
        group_numbers=group_numbers_of(groups, twins, indices),
        excluded=left_out,
        label_preserving=(
            inventory.label_preserving if spec.label_preserving is None else spec.label_preserving
        ),
    )
    cache = cache_root or default_cache_root()
    larger = Larger(inventory, cached, cache)
    loaded = LoadedTask(
        task,
        cached.images,
        labels,
        indices,
        keys,
        skipped,
        groups,
        settled.training_only,
        enlarged=lambda: larger.margin(cached.images.shape[1]),
        unlabelled=unlabelled_of(inventory, cached, cache, progress),
        twins=twins,
        weights=weights,
        larger=larger,
    )
    findings = (*refused[:1], *settled.findings, *filter(None, [unlearnt]))
    return LoadedDetails(loaded, cached, findings, inventory)


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
        raise NoTaskError(
            f"a dataset must have at least two classes, got {len(inventory.classes)} "
            f"({some(inventory.classes)}) in {inventory.name}: a folder needs one subfolder a class, or "
            "--classes-from N where classes are deeper folders; a table needs a label for each image"
        )
    if len(set(inventory.classes)) < len(inventory.classes):
        raise NoTaskError(f"class names must differ, got {some(inventory.classes)} in {inventory.name}")
    check_names(inventory.name, inventory.classes)


def check_names(dataset: str, classes: tuple[str, ...]) -> None:
    """Refuse names that could not be written into a recipe and a model folder, or not be read from them.

    Raises:
        NoTaskError: Says which name, and the rule.
    """
    mistake = name_mistake(dataset)
    if mistake is not None:
        raise NoTaskError(f"the name of a dataset {mistake}: rename it")
    mistake = classes_mistake(classes)
    if mistake is not None:
        raise NoTaskError(f"{mistake}, in {dataset}: rename or merge classes")


def _refusals(inventory: Inventory, skipped: tuple[BadImage, ...], name: str, skip: bool) -> list[str]:
    """Why a search refuses the dataset for images that cannot be used: in one line, and then by name."""
    if not skipped:
        return []
    meant = len(inventory.keys) + len(inventory.outside)
    kinds = Counter(bad.kind for bad in skipped)
    counts = ", ".join(counted(count, kind) for kind, count in kinds.items())
    listed = [f"  {bad.key}: {bad.reason}" for bad in skipped[:LISTED]]
    if len(skipped) > LISTED:
        listed.append(f"  and {len(skipped) - LISTED} more")
    if not skip:
        return [
            f"every image must be readable and in a class, got {len(skipped)} of {meant} in {name} that are "
            f"not ({counts}): repair or remove them, or leave them out with --on-bad-image skip",
            *listed,
        ]
    unusable = kinds[Reason.UNREADABLE] + kinds[Reason.UNSUPPORTED]
    if unusable >= NEARLY_ALL * meant:
        return [
            f"nearly all images of a dataset must be usable, got {unusable} of {meant} in {name} that are "
            f"not ({counts}): there is something wrong with all of them, which skipping does not mend",
            *listed,
        ]
    return []


def _fingerprint(
    classes: tuple[str, ...],
    cached: CachedImages,
    labels: Rows,
    indices: Mapping[Split, Rows],
    weights: Weights | None,
) -> str:
    """Sha256 over classes, labels, splits, pixels and weights, if any: no name, no path, no time."""
    digest = hashlib.sha256()
    digest.update(json.dumps([classes, cached.images.shape]).encode())
    digest.update(labels.astype("<i8").tobytes())
    for split in SPLITS:
        digest.update(f"\n{split} {len(indices[split])}\n".encode())
        digest.update(indices[split].astype("<i8").tobytes())
    digest.update(cached.digests.tobytes())
    if weights is not None:
        digest.update(b"\nweights\n" + weights.astype("<f8").tobytes())
    return digest.hexdigest()
