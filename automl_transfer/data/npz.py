"""An `.npz` file with arrays of images and labels; nothing in it is ever unpickled.

    images (N, H, W) or (N, H, W, 1 | 3 | 4)    uint8 0..255, uint16 0..65535, bool, float 0..1,
                                                or other integers 0..255
    labels (N,) or (N, 1)                       integers or strings
    classes (K,)                                optional names of the labels 0..K-1
    groups (N,)                                 optional, split by group

or, with declared splits, `images_train`, `labels_train`, `images_val`, ... (`x_train`, `y_train` and
`train_images`, `train_labels` too). Images are streamed to disk, so that files larger than memory work.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import DatasetKind, Decoded, Inventory, Native, Request, fitting_resolution
from automl_transfer.data.decode import from_array
from automl_transfer.domain.task import Split
from automl_transfer.errors import DataError

Array = npt.NDArray[Any]

_SUFFIXES: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_PAIRS: tuple[Callable[[str], tuple[str, str]], ...] = (
    lambda split: (f"images_{split}", f"labels_{split}"),
    lambda split: (f"x_{split}", f"y_{split}"),
    lambda split: (f"{split}_images", f"{split}_labels"),
)
_BROKEN = (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError, SyntaxError, zlib.error)


@dataclass
class NpzInventory(Inventory):
    """Image arrays inside a zip; `prepare` unpacks them to be memory-mapped."""

    path: Path = field(default_factory=Path)
    members: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    arrays: list[Array] = field(default_factory=list)

    @property
    def scratch_bytes(self) -> int:
        """The unpacked size of all image arrays."""
        with zipfile.ZipFile(self.path) as archive:
            return sum(archive.getinfo(f"{member}.npy").file_size for member in self.members)

    def prepare(self, scratch: Path) -> None:
        """Unpack the image arrays and map them."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                for number, member in enumerate(self.members):
                    target = scratch / f"{number}.npy"
                    with archive.open(f"{member}.npy") as packed, target.open("wb") as stream:
                        shutil.copyfileobj(packed, stream, 1 << 20)
                    self.arrays.append(np.load(target, mmap_mode="r", allow_pickle=False))
        except _BROKEN as error:
            raise DataError(f"an .npz must be whole, got {self.path.name!r}: {error}") from error

    def native(self) -> Native:
        """Gray unless there are three or four channels."""
        gray = all(len(shape) == 3 or shape[3] == 1 for shape in self.shapes)
        return Native(1 if gray else 3, fitting_resolution(float(np.median([s[1:3] for s in self.shapes]))))

    def decode(self, row: int, channels: int, resolution: int) -> Decoded:
        """Row `row`, with the fixed scaling of its type."""
        for array in self.arrays:
            if row < len(array):
                return from_array(_eight_bit(array[row]), channels, resolution)
            row -= len(array)
        raise IndexError(row)


class Npz(DatasetKind):
    """Any `.npz` with images and labels."""

    def open(self, request: Request) -> Inventory:
        """Read labels, and the shapes of the images.

        Raises:
            DataError: Arrays are missing, pickled, of the wrong type, or of different lengths.
        """
        assert request.location is not None
        path = request.location
        if not zipfile.is_zipfile(path):
            raise DataError(f"an .npz must be a zip archive of arrays, got {path.name!r}, which is none")
        try:
            # The keyword is the point: an object array would run code when unpickled.
            with np.load(path, allow_pickle=False) as archive:
                return _inventory(path, archive)
        except _BROKEN as error:
            raise DataError(
                f"an .npz must be a whole archive of plain arrays, got {path.name!r}: {error}"
            ) from error


def _inventory(path: Path, archive: Any) -> Inventory:
    names = set(archive.files)
    parts, splits = _parts(path.name, names)
    shapes: list[tuple[int, ...]] = []
    labels: list[Array] = []
    for images_name, labels_name in parts:
        shape = _image_shape(path, images_name)
        values = np.asarray(archive[labels_name])
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if values.ndim != 1 or len(values) != shape[0]:
            raise DataError(
                f"{path.name}: {labels_name} must hold one label an image ({shape[0]}), got shape "
                f"{tuple(values.shape)}"
            )
        shapes.append(shape)
        labels.append(values)
    classes, numbers = _classes(
        path.name, np.concatenate(labels), archive["classes"] if "classes" in names else None
    )
    groups = None
    if "groups" in names:
        groups = tuple(str(value) for value in np.ravel(archive["groups"]))
        if len(groups) != len(numbers):
            raise DataError(
                f"{path.name}: groups must hold one value an image ({len(numbers)}), got {len(groups)}"
            )
    stat = path.stat()
    return NpzInventory(
        name=path.stem,
        classes=classes,
        labels=numbers,
        keys=tuple(
            f"{images}[{row}]" for (images, _), s in zip(parts, shapes, strict=True) for row in range(s[0])
        ),
        signature=f"npz {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}",
        groups=groups,
        splits=None
        if splits is None
        else tuple(x for x, s in zip(splits, shapes, strict=True) for _ in range(s[0])),
        path=path,
        members=tuple(images for images, _ in parts),
        shapes=tuple(shapes),
    )


def _parts(file: str, names: set[str]) -> tuple[list[tuple[str, str]], list[Split] | None]:
    if "images" in names and "labels" in names:
        return [("images", "labels")], None
    for pair in _PAIRS:
        found = [(pair(suffix), split) for suffix, split in _SUFFIXES.items() if set(pair(suffix)) <= names]
        if any(split == "train" for _, split in found):
            if len({split for _, split in found}) < len(found):
                raise DataError(f"{file}: each split must have one array of images, got {sorted(names)}")
            return [arrays for arrays, _ in found], [split for _, split in found]
    raise DataError(
        f"{file}: an .npz must hold the arrays images and labels, or images_train, labels_train, "
        f"images_val, ..., got {sorted(names) or 'nothing'}"
    )


def _image_shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of an array inside the zip, from its header alone."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        major, _ = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise DataError(f"{path.name}: {name} must be a plain array, got pickled objects, which are not read")
    if dtype.kind not in "buif":
        raise DataError(f"{path.name}: {name} must hold numbers, got {dtype}")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)) or 0 in shape[1:3]:
        raise DataError(
            f"{path.name}: {name} must have the shape (N, H, W) or (N, H, W, 1 | 3 | 4), got {shape}; "
            "channels come last"
        )
    return tuple(int(size) for size in shape)


def _classes(file: str, labels: Array, names: Array | None) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "buiUS":
        raise DataError(f"{file}: labels must be integers or strings, got {labels.dtype}")
    if names is None:
        values, numbers = np.unique(labels, return_inverse=True)
        texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.tolist()]
        return tuple(texts), numbers.astype(np.int64)
    classes = tuple(str(name) for name in np.ravel(names).tolist())
    if labels.dtype.kind in "US":
        position = {name: label for label, name in enumerate(classes)}
        unknown = sorted(set(map(str, labels.tolist())) - set(classes))
        if unknown:
            raise DataError(f"{file}: labels must be among classes {classes}, got {unknown[:5]}")
        return classes, np.array([position[str(label)] for label in labels.tolist()], np.int64)
    if len(labels) and (labels.min() < 0 or labels.max() >= len(classes)):
        raise DataError(
            f"{file}: labels must lie in 0..{len(classes) - 1} (one of {len(classes)} classes), got "
            f"{labels.min()} to {labels.max()}"
        )
    return classes, labels.astype(np.int64)


def _eight_bit(image: Array) -> npt.NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if image.dtype == np.bool_:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype == np.uint16:
        return ((image.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8)
    if image.dtype.kind == "f":
        if not np.isfinite(image).all():
            raise ValueError("float pixels must be finite, got NaN or infinity")
        if image.min() < 0.0 or image.max() > 1.0:
            raise ValueError(
                f"float pixels must lie in [0, 1], got {image.min():g} to {image.max():g}; "
                "scale them, or store uint8"
            )
        return np.rint(image * 255.0).astype(np.uint8)
    if image.min() < 0 or image.max() > 255:
        raise ValueError(f"integer pixels must lie in 0..255, got {image.min()} to {image.max()}")
    return image.astype(np.uint8)
