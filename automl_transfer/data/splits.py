"""Which image goes into which split: as declared, by seed and class, or by group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import NoTaskError, Rows, some
from automl_transfer.data.together import leaders_of, together_of
from automl_transfer.domain.spec import SplitFractions
from automl_transfer.domain.task import SPLITS, Split
from automl_transfer.errors import DataError

ATTEMPTS = 20
"""Orders of the groups that are tried until every class is in every split."""

Indices = dict[Split, Rows]


class LackingError(NoTaskError):
    """Some classes cannot be in every split; `labels` says which."""

    def __init__(self, message: str, labels: Iterable[int]) -> None:
        super().__init__(message)
        self.labels = frozenset(int(label) for label in labels)


def assign(
    labels: Rows,
    classes: Sequence[str],
    fractions: SplitFractions,
    seed: int,
    *,
    groups: Sequence[str] | None = None,
    declared: Sequence[Split] | None = None,
    together: Rows | None = None,
) -> Indices:
    """Sorted rows of each split.

    Without declared splits, rows are split by seed: each class in the same fractions (at least one
    image a class and split), or, with groups, whole groups so that the classes come out as near to the
    fractions as can be. Declared splits stay; where validation is not declared it is carved out of the
    training rows in the ratio of the two fractions (and so is test where neither is declared). Rows that
    belong `together` (`data.together`) go into one split, unless a class has too few others.

    Raises:
        LackingError: A class has too few images or groups, or is missing in a declared split.
        DataError: A group lies in two declared splits.
    """
    parts: dict[Split, float] = {
        split: getattr(fractions, split) for split in SPLITS if getattr(fractions, split) > 0.0
    }
    everything = np.arange(len(labels), dtype=np.int64)
    indices: Indices = {split: np.zeros(0, np.int64) for split in SPLITS}
    if declared is None:
        return {**indices, **_carve(everything, labels, classes, parts, seed, groups, together)}
    kinds = np.array(declared)
    for split in SPLITS:
        indices[split] = everything[kinds == split]
    if len(indices["validation"]) == 0:
        taken = {split: part for split, part in parts.items() if len(indices["test"]) == 0 or split != "test"}
        indices.update(_carve(indices["train"], labels, classes, taken, seed, groups, together))
    _refuse_missing(indices, labels, classes)
    if groups is not None:
        _refuse_straddling(indices, groups)
    return indices


def few_images(indices: Indices, labels: Rows, per_class: int, seed: int) -> Indices:
    """The few-image version: at most `per_class` training images a class, chosen by seed.

    Validation is limited to as many: whoever has N labelled images a class to train on does not have
    thousands to validate on. The test split keeps all its images, so that scores of different N compare.
    For one seed, the images of a smaller N are among those of a larger one. Classes with fewer images
    keep what they have.
    """
    limited = dict(indices)
    for split in ("train", "validation"):
        rows = indices[split]
        kept = [
            np.random.default_rng([seed, 1, label]).permutation(rows[labels[rows] == label])[:per_class]
            for label in np.unique(labels[rows])
        ]
        limited[split] = np.sort(np.concatenate(kept)) if kept else rows
    return limited


def in_shares(labels: Rows, random: np.random.Generator) -> Rows:
    """A random order of which every beginning has about as large a share of each class as the whole."""
    order = random.permutation(len(labels))
    mixed = labels[order]
    counts = np.bincount(mixed)
    place = (places_in_class(mixed) + random.random(len(mixed))) / counts[mixed]
    return np.asarray(order[np.argsort(place, kind="stable")])


def places_in_class(labels: Rows) -> Rows:
    """(n,) how many of the labels before each are the same."""
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    found = np.empty(len(labels), np.int64)
    found[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return found


def _carve(
    rows: Rows,
    labels: Rows,
    classes: Sequence[str],
    parts: Mapping[Split, float],
    seed: int,
    groups: Sequence[str] | None,
    together: Rows | None,
) -> Indices:
    total = sum(parts.values())
    shares = {split: part / total for split, part in parts.items()}
    if groups is None:
        return _stratified(rows, labels, classes, shares, seed, together)
    named = together_of(groups)
    assert named is not None
    try:
        return _by_group(rows, labels, classes, shares, seed, named if together is None else together)
    except LackingError:  # too few are left where duplicates join groups
        return _by_group(rows, labels, classes, shares, seed, named)


def _stratified(
    rows: Rows,
    labels: Rows,
    classes: Sequence[str],
    shares: Mapping[Split, float],
    seed: int,
    together: Rows | None,
) -> Indices:
    counts = np.bincount(labels[rows], minlength=len(classes))
    small = [f"{classes[label]} ({count})" for label, count in enumerate(counts) if count < len(shares)]
    if small:
        raise LackingError(
            f"each class must have at least {len(shares)} images, one for each of {', '.join(shares)}, "
            f"got {some(small)}",
            np.flatnonzero(counts < len(shares)),
        )
    first, place = leaders_of(rows, together)
    numbers = {split: number for number, split in enumerate(shares)}
    where = np.full(len(labels), -1, np.int64)
    for label in range(len(classes)):
        own = first[labels[first] == label]
        if len(own) < len(shares):
            own = rows[labels[rows] == label]
        count = len(own)
        mixed = np.random.default_rng([seed, 0, label]).permutation(own)
        start, left = 0, len(shares) - 1
        for split, share in shares.items():
            if split == "train":
                continue
            # Every split that is still to come, the training split too, needs one image.
            size = min(max(1, round(share * count)), count - start - left)
            left -= 1
            where[mixed[start : start + size]] = numbers[split]
            start += size
        where[mixed[start:]] = numbers["train"]
    found = np.where(where[rows] >= 0, where[rows], where[first][place])
    return {split: rows[found == number] for split, number in numbers.items()}


def _by_group(
    rows: Rows,
    labels: Rows,
    classes: Sequence[str],
    shares: Mapping[Split, float],
    seed: int,
    groups: Rows,
) -> Indices:
    names, member = np.unique(groups[rows], return_inverse=True)
    table = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(table, (member, labels[rows]), 1)
    present = (table > 0).sum(axis=0)
    small = [f"{classes[label]} ({count})" for label, count in enumerate(present) if count < len(shares)]
    if small:
        raise LackingError(
            f"each class must come from at least {len(shares)} groups, one for each of "
            f"{', '.join(shares)}, got {some(small)}",
            np.flatnonzero(present < len(shares)),
        )
    best: tuple[int, float, npt.NDArray[np.int64]] | None = None
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, 2, attempt])
        place, missing, error = _place_groups(table, np.array(list(shares.values())), rng)
        if best is None or (missing, error) < best[:2]:
            best = missing, error, place
        if missing == 0 and error < 0.05:
            break
    assert best is not None
    indices = {split: rows[best[2][member] == number] for number, split in enumerate(shares)}
    _refuse_missing(indices, labels, classes)
    return indices


def _place_groups(
    table: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], int, float]:
    """Greedily give each group, large ones first, to the split that lacks its classes most.

    Returns the split of each group, how many classes are missing in a split, and the mean absolute
    deviation of the classes' shares from those asked for.
    """
    totals = table.sum(axis=0).astype(np.float64)
    wanted = shares[:, None] * totals[None, :]
    have = np.zeros_like(wanted)
    place = np.zeros(len(table), np.int64)
    # Noise on the sizes gives another order at each attempt, still about large to small.
    order = np.argsort(-table.sum(axis=1) * rng.uniform(0.8, 1.25, len(table)), kind="stable")
    for group in order:
        lack = (wanted - have) / wanted
        need = lack @ (table[group] / totals)
        place[group] = int(np.argmax(need + rng.uniform(0.0, 1e-9, len(shares))))
        have[place[group]] += table[group]
    missing = int((have == 0).sum())
    return place, missing, float(np.abs(have / totals - shares[:, None]).mean())


def _refuse_missing(indices: Mapping[Split, Rows], labels: Rows, classes: Sequence[str]) -> None:
    problems = []
    lacking: set[int] = set()
    for split, rows in indices.items():
        if len(rows) == 0 and split == "test":
            continue
        counts = np.bincount(labels[rows], minlength=len(classes))
        absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
        lacking.update(np.flatnonzero(counts == 0).tolist())
        if absent:
            problems.append(f"{split} has no image of {some(absent)}")
    if problems:
        raise LackingError(f"every class must have images in every split, got {'; '.join(problems)}", lacking)


def _refuse_straddling(indices: Mapping[Split, Rows], groups: Sequence[str]) -> None:
    seen: dict[str, Split] = {}
    straddling: dict[str, str] = {}
    for split, rows in indices.items():
        for group in {groups[row] for row in rows}:
            if seen.setdefault(group, split) != split:
                straddling[group] = f"{group} ({seen[group]} and {split})"
    if straddling:
        raise DataError(
            f"a group must lie in one split, got {some(sorted(straddling.values()))}: move its images, or "
            "leave the split folders out and let the seed split by group"
        )
