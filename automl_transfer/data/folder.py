"""A folder of images: one subfolder a class, optionally below train, val and test folders.

    flowers/rose/1.jpg           split by seed, stratified, or by group
    flowers/train/rose/1.jpg     splits as declared: train, val | valid | validation, test

A class takes all images below its folder, however deep. Without a validation folder, validation images
are taken from the training folder by seed; without a test folder (beside a validation folder) the test
split is empty. Hidden files, and files that are not images, are left out; images outside the class
folders are reported.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from automl_transfer.data.base import (
    BadImage,
    DatasetKind,
    Decoded,
    Inventory,
    Native,
    Request,
    fitting_resolution,
    some,
)
from automl_transfer.data.decode import find_images, header, read_image, threads
from automl_transfer.data.groups import read_groups
from automl_transfer.domain.task import Split
from automl_transfer.errors import DataError

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclass
class FolderInventory(Inventory):
    """Files, decoded when asked."""

    files: Sequence[Path] = field(default_factory=tuple)

    def native(self) -> Native:
        """Gray if every image is; the resolution near the median side of all images."""
        with ThreadPoolExecutor(threads()) as pool:
            seen = [found for found in pool.map(_header, self.files, chunksize=64) if found is not None]
        sides = [side for _, width, height in seen for side in (width, height)]
        gray = bool(seen) and all(is_gray for is_gray, _, _ in seen)
        return Native(1 if gray else 3, fitting_resolution(float(np.median(sides)) if sides else 0.0))

    def decode(self, row: int, channels: int, resolution: int) -> Decoded:
        """Read and decode file `row`."""
        return read_image(self.files[row], channels, resolution)


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
        keyed = sorted((_key(path, root), path) for path in files)
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
        return FolderInventory(
            name=shown,
            classes=classes,
            labels=np.array([position[name] for name in names], np.int64),
            keys=keys,
            signature=_signature(root, inside),
            groups=None if group_from is None else read_groups(group_from, keys, root),
            splits=tuple(SPLIT_FOLDERS[key.split("/")[0].lower()] for key in keys) if declared else None,
            outside=outside,
            files=tuple(path for _, path in inside),
        )


def _header(path: Path) -> tuple[bool, int, int] | None:
    try:
        return header(path)
    except (ValueError, OSError):
        return None


def _key(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return unicodedata.normalize("NFC", readable)


def _refuse_twins(keys: list[str]) -> None:
    twins = [key for key, count in Counter(keys).items() if count > 1]
    if twins:
        raise DataError(
            f"image names must differ by more than their Unicode spelling, got {some(twins, 5)} twice: "
            "rename one of each"
        )


def _declares_splits(keys: list[str], shown: str) -> bool:
    tops = sorted({key.split("/")[0] for key in keys if "/" in key})
    if not any(top.lower() == "train" for top in tops) or not all(t.lower() in SPLIT_FOLDERS for t in tops):
        return False
    twice = [name for name, n in Counter(SPLIT_FOLDERS[top.lower()] for top in tops).items() if n > 1]
    if twice:
        raise DataError(f"each split must have one folder, got several for {twice[0]} in {shown!r}: {tops}")
    return True


def _signature(root: Path, inside: list[tuple[str, Path]]) -> str:
    digest = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape"))
    for key, path in inside:
        try:
            stat = path.stat()
            state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"\0{key}\0{state}".encode())
    return f"folder {digest.hexdigest()}"
