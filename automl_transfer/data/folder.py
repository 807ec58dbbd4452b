"""A folder of images: one subfolder a class, optionally below train, val and test folders.

    flowers/rose/1.jpg           split by seed, stratified, or by group
    flowers/train/rose/1.jpg     splits as declared: train, val | valid | validation, test

A class takes all images below its folder, however deep. Without a validation folder, validation images
are taken from the training folder by seed; without a test folder (beside a validation folder) the test
split is empty. Hidden files, and files that are not images, are left out; images outside the class
folders are reported.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

import numpy as np

from automl_transfer.data.base import BadImage, DatasetKind, Inventory, Request, some
from automl_transfer.data.decode import find_images
from automl_transfer.data.groups import read_groups
from automl_transfer.data.image_files import FileInventory, key_of, signature_of
from automl_transfer.data.split_names import SPLIT_NAMES
from automl_transfer.errors import DataError


class Folder(DatasetKind):
    """Any folder that holds a subfolder for each class."""

    def open(self, request: Request) -> Inventory:
        """List the images.

        Raises:
            DataError: No image is found, classes cannot be told, or groups cannot be read.
        """
        assert request.location is not None
        root = request.location
        shown = root.name or root.resolve().name
        files = find_images(root)
        if not files:
            raise DataError(
                f"a folder dataset must hold images in one subfolder a class, got no image below {shown!r}"
            )
        # Unicode has two spellings of "ü"; file systems differ in the one they keep.
        keyed = sorted((key_of(path, root), path) for path in files)
        _refuse_twins([key for key, _ in keyed])
        declared = _declares_splits([key for key, _ in keyed], shown)
        depth = 2 if declared else 1
        inside = [(key, path) for key, path in keyed if len(PurePosixPath(key).parts) > depth]
        outside = tuple(
            BadImage(key, "lies outside the class folders")
            for key, _ in keyed
            if len(PurePosixPath(key).parts) <= depth
        )
        if not inside:
            raise DataError(
                f"a folder dataset must hold one subfolder a class, got images directly in {shown!r}: "
                f"{some([bad.key for bad in outside], 3)}"
            )
        keys = tuple(key for key, _ in inside)
        names = [PurePosixPath(key).parts[depth - 1] for key in keys]
        classes = tuple(sorted(set(names)))
        position = {name: label for label, name in enumerate(classes)}
        group_from = request.spec.group_from
        return FileInventory(
            name=shown,
            classes=classes,
            labels=np.array([position[name] for name in names], np.int64),
            keys=keys,
            signature=signature_of("folder", root, inside),
            groups=None if group_from is None else read_groups(group_from, keys, root),
            splits=tuple(SPLIT_NAMES[key.split("/")[0].lower()] for key in keys) if declared else None,
            outside=outside,
            files=tuple(path for _, path in inside),
        )


def _refuse_twins(keys: list[str]) -> None:
    twins = [key for key, count in Counter(keys).items() if count > 1]
    if twins:
        raise DataError(
            f"image names must differ by more than their Unicode spelling, got {some(twins, 5)} twice: "
            "rename one of each"
        )


def _declares_splits(keys: list[str], shown: str) -> bool:
    tops = sorted({key.split("/")[0] for key in keys if "/" in key})
    if not any(top.lower() == "train" for top in tops) or not all(t.lower() in SPLIT_NAMES for t in tops):
        return False
    twice = [name for name, n in Counter(SPLIT_NAMES[top.lower()] for top in tops).items() if n > 1]
    if twice:
        raise DataError(f"each split must have one folder, got several for {twice[0]} in {shown!r}: {tops}")
    return True
