"""A folder of images: one subfolder a class, optionally below train, validation and test folders.

    flowers/rose/1.jpg           split by seed, stratified, or by group
    flowers/train/rose/1.jpg     splits as declared: their usual names, in any case (`split_names`)
    flowers/unlabelled/1.jpg     without a label: only preparations see it

A class takes all images below its folder, however deep. Without a validation folder, validation images
are taken from the training folder by seed; without a test folder (beside a validation folder) the test
split is empty. Every file is an image that is used or is counted under a reason (`domain.account`);
`layout` says what is asked where folders can be read in two ways.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from automl_transfer.data.base import (
    BadImage,
    DatasetKind,
    Inventory,
    NoTaskError,
    Request,
    Unused,
    capitals_only,
    some,
)
from automl_transfer.data.groups import read_groups
from automl_transfer.data.image_files import RANGE, FileInventory, key_of, refuse_twins, signature_of
from automl_transfer.data.layout import Layout, Place, layout_of
from automl_transfer.data.scaling import asked_range
from automl_transfer.data.walk import Left, Walked, suffix_of, walk
from automl_transfer.domain.account import Reason
from automl_transfer.domain.pixel_range import PixelRange

MEANT = (Reason.UNLISTED, Reason.UNSUPPORTED, Reason.UNREADABLE, Reason.OUTSIDE)
"""Reasons for which a dataset is refused: what they leave out was meant to be used."""

MOST_UNLABELLED = 4000
"""Of more images without a label only so many are decoded: a preparation sees no more of them."""

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


class Folder(DatasetKind):
    """Any folder that holds a subfolder for each class."""

    options = RANGE

    def finds(self, path: Path) -> bool:
        """By what it is."""
        return path.is_dir()

    def open(self, request: Request) -> Inventory:
        """List the images, and say of every other file why it is none.

        Raises:
            DataError: No image is found, classes cannot be told, or groups cannot be read.
        """
        assert request.location is not None
        root = request.location
        pixels = asked_range(request.options)
        shown = root.name if root.name not in ("", "..") else root.resolve().name or "folder"
        walked = walk(root)
        # Unicode has two spellings of "ü"; file systems differ in the one they keep.
        keyed = sorted((key_of(path, root), path) for path in walked.images)
        refuse_twins([key for key, _ in keyed])
        others = [(key_of(left.path, root), left) for left in walked.left]
        of_images = [key for key, left in others if left.reason in (Reason.UNSUPPORTED, Reason.UNREADABLE)]
        if not keyed:
            raise NoTaskError(
                "a folder dataset must hold images in one subfolder a class, got no image below "
                f"{shown!r}{_instead(walked)}"
            )
        keys = [key for key, _ in keyed]
        layout = layout_of(sorted(keys + of_images), request.spec, shown)
        places = _without_flat_splits([layout.place(key) for key in keys])
        inside = [
            (key, path, place) for (key, path), place in zip(keyed, places, strict=True) if not place.reason
        ]
        if not inside:
            raise NoTaskError(_nothing_inside(keys, walked, shown))
        names = [place.class_name or "" for _, _, place in inside]
        splits = [place.split for _, _, place in inside if place.split is not None]
        if splits and "train" not in splits:
            raise NoTaskError(f"the training split must have images in class folders, got none in {shown!r}")
        classes = tuple(sorted(set(names)))
        position = {name: label for label, name in enumerate(classes)}
        unused = [
            Unused(key, place.reason)
            for key, place in zip(keys, places, strict=True)
            if place.reason is not None
        ]
        unused += [
            Unused(key, left.reason, _class_at(layout, key, left.reason, position)) for key, left in others
        ]
        details = {key: left.detail for key, left in others}
        without = [
            (key, path)
            for (key, path), place in zip(keyed, places, strict=True)
            if place.reason is Reason.UNLABELLED
        ]
        group_from = request.spec.group_from
        used = tuple(key for key, _, _ in inside)
        return FileInventory(
            name=shown,
            classes=classes,
            labels=np.array([position[name] for name in names], np.int64),
            keys=used,
            asked=pixels,
            signature=signature_of(f"folder {pixels}", root, [(key, path) for key, path, _ in inside]),
            groups=None if group_from is None else read_groups(group_from, used, root),
            splits=tuple(splits) if splits else None,
            outside=tuple(
                BadImage(each.key, _words(each, details), each.reason, each.class_name)
                for each in unused
                if each.reason in MEANT
            ),
            left_out=tuple(each for each in unused if each.reason not in MEANT),
            notes=(*_notes(walked, others, used, shown), *capitals_only(classes)),
            files=tuple(path for _, path, _ in inside),
            unlabelled=_unlabelled(without, root, shown, pixels),
        )


def _unlabelled(
    found: Sequence[tuple[str, Path]], root: Path, shown: str, pixels: PixelRange | None
) -> FileInventory | None:
    """Images without a label, evenly spread over all that there are."""
    if not found:
        return None
    at = np.linspace(0, len(found) - 1, min(len(found), MOST_UNLABELLED)).astype(np.int64)
    chosen = [found[number] for number in at]
    return FileInventory(
        name=shown,
        classes=(),
        labels=np.full(len(chosen), -1, np.int64),
        keys=tuple(key for key, _ in chosen),
        asked=pixels,
        signature=signature_of(f"folder {pixels}", root, chosen),
        files=tuple(path for _, path in chosen),
    )


def _without_flat_splits(places: Sequence[Place]) -> list[Place]:
    """A split of which no image lies in a class folder has no labels; nothing is wrong with its images."""
    labelled = {place.split for place in places if place.reason is None}
    return [
        Place(None, place.split, Reason.NO_LABEL)
        if place.reason is Reason.OUTSIDE
        and labelled
        and place.split is not None
        and place.split not in labelled
        else place
        for place in places
    ]


def _class_at(layout: Layout, key: str, reason: Reason, known: Mapping[str, int]) -> str:
    """The class in whose folder a file lies; for what is no image, only where the folder is a class."""
    name = layout.place(key).class_name or ""
    return name if name in known or reason in MEANT else ""


def _words(unused: Unused, details: Mapping[str, str]) -> str:
    if unused.reason is Reason.OUTSIDE:
        return "lies outside the class folders"
    return f"{unused.reason}: {details[unused.key]}"


def _notes(
    walked: Walked, others: Sequence[tuple[str, Left]], used: Sequence[str], shown: str
) -> tuple[str, ...]:
    tops = {key.split("/")[0] for key in used}
    aliases = [(key, left.detail) for key, left in others if left.reason is Reason.SECOND_NAME]
    notes = [f"{key!r} is another name of the folder {first!r}: it is left out" for key, first in aliases[:5]]
    if len(aliases) > 5:
        notes.append(f"{len(aliases) - 5} more folders are there under two names")
    files = {
        key.split("/")[0]
        for key, left in others
        if "/" in key and left.reason is Reason.NOT_IMAGE and key.split("/")[0] not in tops
    }
    neither = sorted({*files, *walked.empty} - {key for key, _ in aliases})
    if neither:
        notes.append(f"no image lies in {some(neither, 5)} of {shown!r}: neither class nor split")
    return tuple(notes)


def _instead(walked: Walked) -> str:
    """What lies there where no image does."""
    counts = Counter((left.reason, suffix_of(left.path.name)) for left in walked.left)
    parts = [f"{count:,} {suffix} ({reason})" for (reason, suffix), count in counts.most_common(4)]
    return f"; there are {', '.join(parts)}" if parts else ""


def _nothing_inside(keys: Sequence[str], walked: Walked, shown: str) -> str:
    text = (
        f"a folder dataset must hold one subfolder a class, got images directly in {shown!r}: "
        f"{some(list(keys), 3)}"
    )
    tables = [left.path.name for left in walked.left if left.path.suffix.lower() in TABLES]
    if tables:
        text += f"; where {some(sorted(tables), 2)} has the labels, name that file as the dataset"
    return text
