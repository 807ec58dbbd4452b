"""Where a folder's images say their class and their split: as the user says, or as the folders' names do.

    flowers/rose/1.jpg           classes are the top folders
    flowers/train/rose/1.jpg     top folders are splits where all their names say so, classes lie below
    flowers/unlabelled/1.jpg     beside either: images without a label (or unlabeled/), for preparations

What could be read in two ways is refused, with the options that say it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from automl_transfer.data.base import NoTaskError, some
from automl_transfer.data.groups import one_group
from automl_transfer.data.split_names import almost_splits, split_of, twice, without_labels
from automl_transfer.domain.account import Reason
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import SPLITS, Split
from automl_transfer.errors import DataError

NONE = "none"
_MAPPING = re.compile(r"\s*(train|validation|test)=([^,]+)")

Find = Callable[[str], str | None]
"""What a relative file name says, or None."""


@dataclass(frozen=True)
class Place:
    """Class and split of one image, or why it has none. `split` is None where splits are drawn by seed."""

    class_name: str | None
    split: Split | None = None
    reason: Reason | None = None


@dataclass
class Layout:
    """Says the place of each image of one folder."""

    class_of: Find
    splits: Mapping[str, Split] | None
    split_name: Find
    unlabelled: frozenset[str] = frozenset()

    def place(self, key: str) -> Place:
        """Class and split of the image of this relative name."""
        top = key.split("/", 1)[0]
        if top in self.unlabelled and "/" in key:
            return Place(None, None, Reason.UNLABELLED)
        split: Split | None = None
        if self.splits is not None:
            split = self.splits.get(self.split_name(key) or "")
            if split is None:
                return Place(None, None, Reason.NO_SPLIT if "/" in key else Reason.OUTSIDE)
        name = self.class_of(key)
        return Place(name, split, None if name is not None else Reason.OUTSIDE)


def layout_of(keys: Sequence[str], spec: TaskSpec, shown: str) -> Layout:
    """Decide where classes and splits stand.

    Args:
        keys: Relative names of all images.
        spec: `classes_from` and `split_from`.
        shown: The dataset's name, for messages.

    Raises:
        DataError: It can be read in more than one way, or an option fits nothing.
    """
    tops = sorted({key.split("/", 1)[0] for key in keys if "/" in key})
    said = spec.split_from
    unlabelled: frozenset[str] = frozenset()
    splits: dict[str, Split] | None
    depth, find = 1, _folder(1)
    if said is None:
        splits, unlabelled = _by_names(keys, tops, shown)
        depth = 1 if splits is None else 2
    elif said == NONE:
        splits = None
    elif isinstance(said, int):
        find = _folder(said)
        splits, depth = _named(keys, find, shown), 2 if said == 1 else 1
    elif _MAPPING.match(said):
        splits, depth = _mapped(said, tops, shown), 2
        unlabelled = frozenset(top for top in tops if top not in splits and without_labels(top))
    else:
        find = _pattern(said, "split_from", keys)
        splits = _named(keys, find, shown)
    asked = spec.classes_from
    if asked is None:
        class_of = _folder(depth)
        labelled = [key for key in keys if key.split("/", 1)[0] not in unlabelled]
        _refuse_copies(labelled, depth, shown)
        if said is None and splits is None:
            _refuse_splits_within_classes(labelled, shown)
    elif isinstance(asked, int):
        class_of = _folder(asked)
    else:
        class_of = _pattern(asked, "classes_from", keys)
    return Layout(class_of, splits, find, unlabelled)


def _by_names(
    keys: Sequence[str], tops: Sequence[str], shown: str
) -> tuple[dict[str, Split] | None, frozenset[str]]:
    """The splits that top folders are by their names (None: they are classes); those without labels."""
    splits = {top: split for top in tops if (split := split_of(top)) is not None}
    unlabelled = frozenset(top for top in tops if top not in splits and without_labels(top))
    others = [top for top in tops if top not in splits and top not in unlabelled]
    if not splits:
        almost = almost_splits(tops)
        if almost:
            raise NoTaskError(
                f"the top folders of {shown!r} must all be classes or all be splits, got "
                f"{some(sorted(almost), 5)}, which may be either: {_how(almost)}"
            )
        return None, unlabelled
    direct = {key.split("/", 1)[0] for key in keys if key.count("/") == 1}
    if list(splits) == ["train"] and others and {"train", *others} <= direct:
        return None, unlabelled  # a railway train: its images lie in it as those of the other classes do
    if others:
        raise NoTaskError(
            f"the top folders of {shown!r} must all be classes or all be splits, got "
            f"{some(sorted(splits), 5)} (names of splits) beside {some(others, 5)}: {_how(splits)}"
        )
    if "train" not in splits.values():
        raise NoTaskError(
            f"a folder with splits must have one to train on, got {some(sorted(splits), 5)} in {shown!r}: "
            "name the folder to train on with --split-from train=FOLDER,... or say that these are classes "
            "with --split-from none"
        )
    _refuse_twice(splits, shown)
    return splits, unlabelled


def _how(splits: Mapping[str, Split]) -> str:
    order = sorted(splits.items(), key=lambda item: (SPLITS.index(item[1]), item[0]))
    pairs = ",".join(f"{split}={name}" for name, split in order)
    return (
        f"say --split-from {pairs} (the other folders are then left out), or --split-from none, which makes "
        "each a class"
    )


def _refuse_twice(names: Iterable[str], shown: str) -> None:
    for split, spelt in twice(names).items():
        raise NoTaskError(
            f"each split must have one folder, got several for {split} in {shown!r}: {some(spelt, 5)}. "
            "Say which is which with --split-from train=FOLDER,validation=FOLDER,test=FOLDER"
        )


def _named(keys: Sequence[str], find: Find, shown: str) -> dict[str, Split]:
    """What is found in the names, as splits; the user has said that they stand there."""
    names = sorted({name for key in keys if (name := find(key)) is not None})
    splits = {name: split for name in names if (split := split_of(name)) is not None}
    if "train" not in splits.values():
        raise DataError(
            "split_from must lead to names of splits (train, validation and test, or their usual variants), "
            f"got {some(names, 5) or 'none'} in {shown!r}"
        )
    _refuse_twice(splits, shown)
    return splits


def _mapped(said: str, tops: Sequence[str], shown: str) -> dict[str, Split]:
    """`train=A,validation=B,test=C`."""
    splits: dict[str, Split] = {}
    for part in said.split(","):
        found = _MAPPING.fullmatch(part)
        name = found[2].strip() if found else ""
        if found is None or name in splits or found[1] in splits.values():
            raise DataError(
                "split_from must name each split and folder once, as in train=FOLDER,test=FOLDER, "
                f"got {said!r}"
            )
        if name not in tops:
            raise DataError(
                f"split_from must name top folders that hold images ({some(list(tops), 5)}), got {name!r} "
                f"for {found[1]} in {shown!r}"
            )
        splits[name] = "train" if found[1] == "train" else "test" if found[1] == "test" else "validation"
    if "train" not in splits.values():
        raise DataError(f"split_from must name a folder to train on, got {said!r}")
    return splits


def _folder(depth: int) -> Find:
    def find(key: str) -> str | None:
        parts = key.split("/")
        return parts[depth - 1] if len(parts) > depth else None

    return find


def _pattern(text: str, option: str, keys: Sequence[str]) -> Find:
    expression = one_group(text, option, "the number of a folder or a regular expression")

    def find(key: str) -> str | None:
        match = expression.search(key)
        return (match[1] or None) if match is not None else None

    if not any(find(key) is not None for key in keys):
        raise DataError(
            f"{option} must match names of images, got no match of {text!r} for {len(keys)}: "
            f"{some(list(keys), 3)}"
        )
    return find


def _refuse_copies(keys: Sequence[str], depth: int, shown: str) -> None:
    """The same classes once more, somewhere below one of them: an archive unpacked twice."""
    classes: dict[str, set[str]] = defaultdict(set)
    below: dict[tuple[str, str], set[str]] = defaultdict(set)
    for key in keys:
        parts = key.split("/")
        parent = "/".join(parts[: depth - 1])
        if len(parts) > depth:
            classes[parent].add(parts[depth - 1])
        for at in range(depth, len(parts) - 1):
            below[parent, "/".join(parts[:at])].add(parts[at])
    for (parent, folder), names in sorted(below.items()):
        again = sorted(names & classes[parent])
        if len(again) > 1:
            raise NoTaskError(
                f"a folder must hold each class once, got {some(again, 3)} in {shown!r} and again below "
                f"{folder!r}, which looks like a second copy: remove one of them, or say that classes stand "
                f"in the {_nth(depth)} folder with --classes-from {depth}"
            )


def _refuse_splits_within_classes(keys: Sequence[str], shown: str) -> None:
    inner: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        parts = key.split("/")
        if len(parts) > 1:
            inner[parts[0]].add(parts[1] if len(parts) > 2 else "")
    names = {name for found in inner.values() for name in found}
    found = {split_of(name) for name in names}
    if None not in found and "train" in found and len(found) > 1:
        raise NoTaskError(
            f"splits must be the top folders or be said, got {some(sorted(names), 5)} below each class of "
            f"{shown!r}: say --split-from 2 to use them, or --split-from none to draw splits anew"
        )


def _nth(number: int) -> str:
    return {1: "top", 2: "second"}.get(number, f"{number}th")
