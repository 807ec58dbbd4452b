"""Classes that are too rare to be in every split: refused, left out, merged, or kept to train on only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from automl_transfer.data.base import NoTaskError, Rows, some
from automl_transfer.data.splits import Indices, LackingError, assign
from automl_transfer.data.together import together_of
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import SPLITS, Split
from automl_transfer.errors import DataError

OTHER = "other"
"""The class into which rare ones are merged; one of this name takes them too."""

_OPTIONS = (
    "add images, or say what becomes of these classes: --rare-classes drop (left out), merge (into one class "
    "'other') or keep (to train on only)"
)


@dataclass(frozen=True)
class Settled:
    """Classes, labels and splits after rare classes have been dealt with.

    Attributes:
        labels: Positions in `classes`; -1 for images of classes that are left out.
        training_only: Sorted rows that may be trained on, but neither validated nor tested on.
        rare: Names of the rare classes, as they were.
        notes: What was done about them, for people.
        findings: What a search refuses, where it is only described here.
    """

    classes: tuple[str, ...]
    labels: Rows
    indices: Indices
    training_only: Rows
    rare: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


def settle(
    labels: Rows,
    classes: Sequence[str],
    spec: TaskSpec,
    *,
    groups: Sequence[str] | None,
    declared: Sequence[Split] | None,
    together: Rows | None = None,
    describe: bool = False,
) -> Settled:
    """Split a dataset, and do with its rare classes what the task says.

    A class is rare if it has fewer than `spec.min_per_class` images, or cannot be in every split.

    Args:
        labels: Positions in `classes`, of all readable images.
        classes: Their names.
        spec: `splits`, `seed`, `min_per_class` and `rare_classes`.
        groups: As for `splits.assign`.
        declared: As for `splits.assign`.
        together: As for `splits.assign`.
        describe: Refuse nothing that can be described: rare classes stay where they are, and are findings.

    Raises:
        DataError: Classes are rare and the task does not say what becomes of them, or too few are left.
    """
    policy = spec.rare_classes
    findings: list[str] = []
    counts = np.bincount(labels, minlength=len(classes))
    rare = {int(label) for label in np.flatnonzero(counts < (spec.min_per_class or 0))}
    if rare and policy == "refuse":
        few = [f"{classes[label]} ({counts[label]})" for label in sorted(rare)]
        text = f"each class must have at least {spec.min_per_class} images (--min-per-class), got {some(few)}"
        if not describe:
            raise NoTaskError(f"{text}: {_OPTIONS}")
        findings.append(f"{text}: {_OPTIONS}")
    while True:
        kept = _Kept.of(labels, classes, rare, merge=policy == "merge")
        if describe and policy == "refuse" and rare and len(kept.classes) < 2:
            found = {split: _no_rows() for split in SPLITS}
            rare, kept = set(range(len(classes))), _Kept((), _no_rows(), _no_rows(), ())
            break
        try:
            if len(kept.classes) < 2 or len(kept.rows) == 0:
                raise NoTaskError(_too_few_left(kept.classes, [classes[label] for label in sorted(rare)]))
            found = assign(
                kept.labels,
                kept.classes,
                spec.splits,
                spec.seed,
                groups=None if groups is None else [groups[row] for row in kept.rows],
                declared=None if declared is None else [declared[row] for row in kept.rows],
                together=None if together is None else together[kept.rows],
            )
            break
        except LackingError as error:
            if policy == "refuse" and not describe:
                raise NoTaskError(f"{error}: {_OPTIONS}") from None
            if policy == "refuse":
                findings.append(f"{error}: {_OPTIONS}")
            new = {kept.before[label] for label in error.labels if kept.before[label] < len(classes)} - rare
            if not new:  # all rare classes together are one that is too rare
                raise NoTaskError(f"{error}: use --rare-classes drop or keep") from None
            rare |= new
        except DataError as error:
            if not describe or groups is None:
                raise
            findings.append(str(error))
            groups = None
    indices = {split: kept.rows[rows] for split, rows in found.items()}
    names = frozenset(classes[label] for label in rare)
    if not rare:
        return Settled(tuple(classes), labels, indices, _no_rows(), findings=tuple(findings))
    if policy in ("drop", "merge"):
        after = np.full(len(labels), -1, np.int64)
        after[kept.rows] = kept.labels
        what = "left out" if policy == "drop" else f"merged into the class {OTHER!r}"
        notes = (f"rare classes are {what}: {_counted(classes, counts, rare)}",)
        return Settled(kept.classes, after, indices, _no_rows(), names, notes)
    added = np.flatnonzero(np.isin(labels, sorted(rare)))
    if policy == "refuse":
        for split in SPLITS:
            more = added if declared is None and split == "train" else _where(added, declared, split)
            indices[split] = np.sort(np.concatenate([indices[split], more]))
        if min(len(indices["train"]), len(indices["validation"])) == 0:
            raise NoTaskError(findings[0])
        return Settled(tuple(classes), labels, indices, _no_rows(), names, findings=tuple(findings))
    only = added if declared is None else _where(added, declared, "train")
    blocks = together_of(groups) if together is None else together
    if blocks is not None:
        elsewhere = np.concatenate([indices[split] for split in ("validation", "test")])
        only = only[~np.isin(blocks[only], blocks[elsewhere])]
    indices["train"] = np.sort(np.concatenate([indices["train"], only]))
    learnt = {int(label) for label in np.unique(labels[indices["train"]])}
    after = np.full(len(classes), -1, np.int64)
    after[sorted(learnt)] = np.arange(len(learnt))
    notes = (
        f"rare classes are kept to train on only, out of validation and test: "
        f"{_counted(classes, counts, rare)}",
    )
    return Settled(
        tuple(classes[label] for label in sorted(learnt)), after[labels], indices, only, names, notes
    )


@dataclass(frozen=True)
class _Kept:
    """The classes that are split, numbered anew: `before` has their old labels, `rows` their images."""

    classes: tuple[str, ...]
    labels: Rows
    rows: Rows
    before: tuple[int, ...]

    @classmethod
    def of(cls, labels: Rows, classes: Sequence[str], rare: set[int], *, merge: bool) -> _Kept:
        names, before = list(classes), labels
        if merge and rare:
            if OTHER not in names:
                names.append(OTHER)
            target = names.index(OTHER)
            before = np.where(np.isin(labels, sorted(rare)), target, labels)
            stay = [label for label in range(len(names)) if label not in rare or label == target]
        else:
            stay = [label for label in range(len(names)) if label not in rare]
        new = np.full(len(names), -1, np.int64)
        new[stay] = np.arange(len(stay))
        rows = np.flatnonzero(new[before] >= 0)
        return cls(tuple(names[label] for label in stay), new[before[rows]], rows, tuple(stay))


def _where(rows: Rows, declared: Sequence[Split] | None, split: Split) -> Rows:
    if declared is None:
        return _no_rows()
    return np.array([row for row in rows if declared[row] == split], np.int64)


def _no_rows() -> Rows:
    return np.zeros(0, np.int64)


def _counted(classes: Sequence[str], counts: Rows, rare: Iterable[int]) -> str:
    return some([f"{classes[label]} ({counts[label]})" for label in sorted(rare)], 5)


def _too_few_left(left: Sequence[str], rare: list[str]) -> str:
    return (
        f"at least two classes must be left beside rare ones, got {some(list(left)) or 'none'} after "
        f"{some(rare, 5)}: add images, or lower --min-per-class"
    )
