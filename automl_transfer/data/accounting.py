"""The account of a dataset: every file used, or counted under its reason; and images that look odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import Inventory, Rows, Unused
from automl_transfer.data.cache import CachedImages
from automl_transfer.data.image_files import key_of
from automl_transfer.data.rare import Settled
from automl_transfer.data.walk import suffix_of, walk
from automl_transfer.domain.account import LISTED, Account, LeftOut, Oddity, Reason
from automl_transfer.domain.task import SPLITS, Split

SAMPLE = 5
LONG = 8.0
"""An image is extreme whose one side is more than so many times the other: it is squashed to a square."""


def account_of(
    inventory: Inventory,
    cached: CachedImages,
    settled: Settled,
    indices: Mapping[Split, Rows],
    notes: Sequence[str] = (),
    excluded: Rows | None = None,
) -> Account:
    """Count what was found, what is used, and what is odd about it.

    Args:
        inventory: All images and files.
        cached: Which of them can be read.
        settled: What became of rare classes.
        indices: The splits in the end, in rows of `cached`.
        notes: Sentences to begin with.
        excluded: Rows that a list of exclusions leaves out.
    """
    used = np.zeros(len(cached.rows), np.bool_)
    for rows in indices.values():
        used[rows] = True
    unused = list(inventory.left_out)
    unused += [Unused(bad.key, bad.kind, bad.class_name) for bad in inventory.outside]
    row_of = {key: row for row, key in enumerate(inventory.keys)} if cached.bad else {}
    unused += [
        Unused(bad.key, bad.kind, inventory.classes[inventory.labels[row_of[bad.key]]]) for bad in cached.bad
    ]
    weightless = (
        set() if inventory.weights is None else set(np.flatnonzero(inventory.weights == 0.0).tolist())
    )
    listed = set() if excluded is None else set(cached.rows[excluded].tolist())
    for row in cached.rows[~used]:
        name = inventory.classes[inventory.labels[row]]
        reason = Reason.RARE if name in settled.rare else Reason.FEW
        if row in listed:
            reason = Reason.EXCLUDED
        elif reason is Reason.FEW and row in weightless:
            reason = Reason.WEIGHTLESS
        unused.append(Unused(inventory.keys[row], reason, name))
    keys = [inventory.keys[row] for row in cached.rows]
    return Account(
        seen=len(inventory.keys) + len(inventory.outside) + len(inventory.left_out),
        used=int(used.sum()),
        left_out=tally(unused),
        oddities=tuple(_oddities(keys, settled.labels, cached, used, indices)),
        notes=(*notes, *inventory.notes, *settled.notes),
    )


def account_of_files(root: Path) -> tuple[Account, dict[str, int]]:
    """What lies below a folder that cannot be read as a dataset, and how many images in each top folder.

    Raises:
        DataError: The folder cannot be listed.
    """
    walked = walk(root)
    keys = [key_of(path, root) for path in walked.images]
    unused = [Unused(key, Reason.UNDECIDED) for key in keys]
    unused += [Unused(key_of(left.path, root), left.reason) for left in walked.left]
    tops = Counter(key.split("/")[0] if "/" in key else "." for key in keys)
    return Account(seen=len(unused), used=0, left_out=tally(unused)), dict(sorted(tops.items()))


def tally(unused: Iterable[Unused]) -> tuple[LeftOut, ...]:
    """Count by reason, suffix and class, with the first names of each."""
    by_reason: dict[Reason, list[Unused]] = {}
    for each in unused:
        by_reason.setdefault(each.reason, []).append(each)
    return tuple(
        LeftOut(
            reason=reason,
            files=len(found),
            suffixes=_counted(suffix_of(each.key.rsplit("/", 1)[-1]) or "(none)" for each in found),
            classes=_counted(each.class_name for each in found if each.class_name),
            sample=tuple(sorted(each.key for each in found)[:SAMPLE]),
        )
        for reason in Reason
        if (found := by_reason.get(reason))
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    shown = dict(counts[:LISTED])
    others = sum(count for _, count in counts[LISTED:])
    return shown | ({"...": others} if others else {})


def _oddities(
    keys: Sequence[str],
    labels: Rows,
    cached: CachedImages,
    used: npt.NDArray[np.bool_],
    indices: Mapping[Split, Rows],
) -> Iterable[Oddity]:
    blank = cached.blank & used
    long = (cached.sizes.max(axis=1) > LONG * cached.sizes.min(axis=1)) & used
    conflicting, across = _twins(labels, cached, used, indices)
    for what, found in (
        ("image of one colour only (transparency becomes white)", blank),
        (f"image more than {LONG:g} times as long as wide, squashed to a square", long),
        ("image from a file of several frames, of which the first is used", cached.frames & used),
        ("image with an exact duplicate under another label", conflicting & ~blank),
        ("image with an exact duplicate in another split, which makes scores too good", across & ~blank),
    ):
        rows = np.flatnonzero(found)
        if len(rows):
            yield Oddity(what=what, images=len(rows), sample=tuple(keys[row] for row in rows[:SAMPLE]))


def _twins(
    labels: Rows, cached: CachedImages, used: npt.NDArray[np.bool_], indices: Mapping[Split, Rows]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether each image has an exact duplicate of another label, and one in another split."""
    where = np.full(len(used), -1, np.int64)
    for number, split in enumerate(SPLITS):
        where[indices[split]] = number
    rows = np.flatnonzero(used)
    content = np.ascontiguousarray(cached.digests[rows]).view("V16").ravel()
    _, group = np.unique(content, return_inverse=True)
    found = []
    for kinds in (labels, where):
        low = np.full(len(rows), np.iinfo(np.int64).max)
        high = np.full(len(rows), -1, np.int64)
        np.minimum.at(low, group, kinds[rows])
        np.maximum.at(high, group, kinds[rows])
        mask = np.zeros(len(used), np.bool_)
        mask[rows] = (low != high)[group]
        found.append(mask)
    return found[0], found[1]
