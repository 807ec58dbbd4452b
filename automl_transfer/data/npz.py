"""An `.npz` file with arrays of images and labels; nothing in it is ever unpickled.

    images (N, H, W) or (N, H, W, 1 | 3 | 4)    numbers of any type and byte order, or booleans
    images (N, numbers)                         with `?shape=32x32x3`, or 3x32x32
    labels (N,) or (N, 1)                       integers or strings
    classes (K,)                                optional names of the labels 0..K-1
    groups (N,)                                 optional, split by group
    weights (N,)                                optional, how often each image counts in training

or, with declared splits, `images_train`, `labels_train`, `images_val`, ... (`x_train`, `y_train` and
`train_images`, `train_labels` too). Which numbers are black and white is judged by the values of all images
together (`domain.pixel_range`), or said: `?range=0..4095`. Images are streamed to disk, so that files larger
than memory work.
"""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import (
    DatasetKind,
    Decoded,
    Inventory,
    Native,
    Request,
    fitting_resolution,
    some,
)
from automl_transfer.data.decode import MAX_PIXELS, from_array
from automl_transfer.data.image_shape import CHANNELS, ImageShape, parse, which_shapes
from automl_transfer.data.labels import classes_of, one_an_image
from automl_transfer.data.memory_budget import DECODING
from automl_transfer.data.npy import Header, read_header
from automl_transfer.data.scaling import asked_range, see, to_pixels
from automl_transfer.data.split_names import SPLIT_NAMES
from automl_transfer.data.weights import of_values
from automl_transfer.domain.pixel_range import EIGHT_BITS, PixelRange, Seen, judge, refuse_another_scale
from automl_transfer.domain.task import Split
from automl_transfer.errors import DataError
from automl_transfer.files import reading

Array = npt.NDArray[Any]

_PAIRS: tuple[Callable[[str], tuple[str, str]], ...] = (
    lambda split: (f"images_{split}", f"labels_{split}"),
    lambda split: (f"x_{split}", f"y_{split}"),
    lambda split: (f"{split}_images", f"{split}_labels"),
)
_RULE = "an .npz must be a whole archive of plain arrays"
_AGAIN = "write it again with numpy.savez"

MOST_LABEL_BYTES = 256 << 20
"""Of one array of labels, names or groups, unpacked: it is read into memory."""
WIDEST_TEXT = 4 * 4096
"""Bytes of one label, name or group."""
FEW_IMAGES = 100_000
BYTES_A_NUMBER = 16
"""Memory that decoding takes for each stored number, at most."""


@dataclass
class NpzInventory(Inventory):
    """Image arrays inside a zip; `prepare` unpacks them to be memory-mapped, and judges their range."""

    path: Path = field(default_factory=Path)
    members: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    row: ImageShape | None = None
    asked: PixelRange | None = None
    arrays: list[Array] = field(default_factory=list)

    @property
    def scratch_bytes(self) -> int:
        """The unpacked size of all image arrays."""
        with reading(_RULE, self.path.name, DataError, _AGAIN), zipfile.ZipFile(self.path) as archive:
            return sum(archive.getinfo(f"{member}.npy").file_size for member in self.members)

    def prepare(self, scratch: Path) -> None:
        """Unpack the image arrays, map them, and judge their range by all their values."""
        with (
            reading("an .npz must be whole", repr(self.path.name), DataError, _AGAIN),
            zipfile.ZipFile(self.path) as archive,
        ):
            arrays: list[Array] = []
            for number, member in enumerate(self.members):
                target = scratch / f"{number}.npy"
                with archive.open(f"{member}.npy") as packed, target.open("wb") as stream:
                    shutil.copyfileobj(packed, stream, 1 << 20)
                arrays.append(np.load(target, mmap_mode="r", allow_pickle=False))
        self.arrays = arrays
        self.pixel_range = self.asked or self._judged()

    def native(self) -> Native:
        """Gray unless there are three or four channels."""
        gray = all(len(shape) == 3 or shape[3] == 1 for shape in self.shapes)
        return Native(1 if gray else 3, fitting_resolution(float(np.median([s[1:3] for s in self.shapes]))))

    def decode(self, row: int, channels: int, resolution: int) -> Decoded:
        """Row `row`, scaled like all others."""
        assert self.pixel_range is not None
        for array in self.arrays:
            if row < len(array):
                with DECODING.holding(array[row].size * BYTES_A_NUMBER):
                    image = array[row] if self.row is None else self.row.of(array[row])
                    return from_array(to_pixels(image, self.pixel_range), channels, resolution, self.fit)
            row -= len(array)
        raise IndexError(row)

    def _judged(self) -> PixelRange:
        how = "?range=LOW..HIGH"
        parts = [(name, see(array)) for name, array in zip(self.members, self.arrays, strict=True)]
        seen = [(name, found) for name, found in parts if found is not None]
        if not seen:
            raise DataError(f"{self.path.name}: pixels must be finite, got nothing but NaN and infinity")
        both: Seen = seen[0][1]
        for _, found in seen[1:]:
            both |= found
        # Numbers of one byte are no dark ones of a larger range.
        wide = any(array.dtype.itemsize > 1 for array in self.arrays)
        expected = self.expected if wide or self.expected == EIGHT_BITS else None
        pixels = judge(both, f"{self.path.name}: {' and '.join(name for name, _ in seen)}", how, expected)
        for name, found in seen:
            refuse_another_scale(found, pixels, f"{self.path.name}: {name}", how)
        return pixels


class Npz(DatasetKind):
    """Any `.npz` with images and labels."""

    options: Mapping[str, str] = {
        "range": "which numbers are black and white, LOW..HIGH; judged by all values where it is not said",
        "shape": "of an image, where images are rows of numbers: 28x28, 32x32x3 or 3x32x32",
    }

    def finds(self, path: Path) -> bool:
        """By what it is."""
        return path.suffix.lower() == ".npz" and path.is_file()

    def open(self, request: Request) -> Inventory:
        """Read labels, and the shapes of the images.

        Raises:
            DataError: Arrays are missing, pickled, of the wrong type, or of different lengths.
        """
        assert request.location is not None
        path, options = request.location, request.options
        row = parse(options["shape"]) if "shape" in options else None
        pixels = asked_range(options)
        with reading(_RULE, repr(path.name), DataError, _AGAIN):
            if not zipfile.is_zipfile(path):
                raise DataError(f"an .npz must be a zip archive of arrays, got {path.name!r}, which is none")
            with zipfile.ZipFile(path) as archive:
                return _inventory(path, archive, row, pixels)


def _inventory(
    path: Path, archive: zipfile.ZipFile, row: ImageShape | None, pixels: PixelRange | None
) -> Inventory:
    names = {entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")}
    parts, splits = _parts(path.name, names)
    shapes: list[tuple[int, ...]] = []
    labels: list[Array] = []
    for images_name, labels_name in parts:
        shape = _image_shape(path.name, archive, images_name, row)
        values = _read_small(path.name, archive, labels_name)
        shapes.append(shape)
        labels.append(one_an_image(values, shape[0], f"{path.name}: {labels_name}"))
    classes, numbers = classes_of(
        path.name,
        np.concatenate(labels),
        _read_small(path.name, archive, "classes") if "classes" in names else None,
    )
    groups = None
    if "groups" in names:
        groups = tuple(str(value) for value in np.ravel(_read_small(path.name, archive, "groups")))
        if len(groups) != len(numbers):
            raise DataError(
                f"{path.name}: groups must hold one value an image ({len(numbers)}), got {len(groups)}"
            )
    weights = None
    if "weights" in names:
        weights = of_values(_read_small(path.name, archive, "weights"), len(numbers), f"{path.name}: weights")
    stat = path.stat()
    return NpzInventory(
        name=path.name,
        classes=classes,
        labels=numbers,
        keys=tuple(
            f"{images}[{row}]" for (images, _), s in zip(parts, shapes, strict=True) for row in range(s[0])
        ),
        signature=f"npz {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {row} {pixels}",
        groups=groups,
        weights=weights,
        notes=_unread(names, parts),
        splits=None
        if splits is None
        else tuple(x for x, s in zip(splits, shapes, strict=True) for _ in range(s[0])),
        path=path,
        members=tuple(images for images, _ in parts),
        shapes=tuple(shapes),
        row=row,
        asked=pixels,
    )


def _parts(file: str, names: set[str]) -> tuple[list[tuple[str, str]], list[Split] | None]:
    if "images" in names and "labels" in names:
        return _all_used(file, names, [("images", "labels")]), None
    for pair in _PAIRS:
        found = [(pair(suffix), split) for suffix, split in SPLIT_NAMES.items() if set(pair(suffix)) <= names]
        if any(split == "train" for _, split in found):
            if len({split for _, split in found}) < len(found):
                raise DataError(f"{file}: each split must have one array of images, got {sorted(names)}")
            return _all_used(file, names, [arrays for arrays, _ in found]), [split for _, split in found]
    raise DataError(
        f"{file}: an .npz must hold the arrays images and labels, or images_train, labels_train, "
        f"images_val, ..., got {sorted(names) or 'nothing'}"
    )


def _all_used(file: str, names: set[str], parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Refuse images or labels that would be left out in silence: of a split, or named in two ways."""
    known = {"images", "labels"} | {
        name for pair in _PAIRS for suffix in SPLIT_NAMES for name in pair(suffix)
    }
    used = [name for pair in parts for name in pair]
    if unused := sorted((names & known) - set(used)):
        raise DataError(
            f"{file}: all images and labels must be used, got {some(unused, 6)} without its other half, or "
            f"beside {some(used, 6)}: name all pairs alike (images_train, labels_train, images_test, "
            "labels_test), or leave out what is not meant"
        )
    return parts


def _unread(names: set[str], parts: list[tuple[str, str]]) -> tuple[str, ...]:
    others = sorted(names - {name for pair in parts for name in pair} - {"classes", "groups", "weights"})
    return (f"nothing reads the arrays {some(others, 6)}",) if others else ()


def _image_shape(file: str, archive: zipfile.ZipFile, name: str, row: ImageShape | None) -> tuple[int, ...]:
    """(N, H, W) or (N, H, W, C) of an array inside the zip, from its header alone."""
    header = read_header(archive, f"{name}.npy")
    shape = header.shape
    if header.objects:
        raise DataError(
            f"{file}: {name} must be a plain array, got pickled objects, which are not read: store "
            "np.stack(images), all of one size"
        )
    if header.kind not in "buif":
        raise DataError(f"{file}: {name} must hold numbers, got {header.dtype}")
    _check_whole(file, name, header)
    # Nothing but a made-up file packs so many images into so few bytes, and each has a name in memory.
    packed = archive.getinfo(f"{name}.npy").compress_size
    if shape and shape[0] > max(packed, FEW_IMAGES):
        raise DataError(f"{file}: {name} must hold images, got {shape[0]:,} of them in {packed:,} bytes")
    if len(shape) == 2:
        shape = (shape[0], *_of_row(f"{file}: {name}", shape[1], row))
        row = None
    if len(shape) > 2 and math.prod(shape[1:3]) > MAX_PIXELS:
        raise DataError(f"{file}: {name} must have at most {MAX_PIXELS:,} pixels an image, got {shape}")
    if row is not None:
        raise DataError(f"{file}: ?shape is for rows of numbers, got {name} with the shape {shape}")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in CHANNELS) or 0 in shape[1:3]:
        planes = len(shape) == 4 and shape[1] in CHANNELS
        raise DataError(
            f"{file}: {name} must have the shape (N, H, W) or (N, H, W, 1 | 3 | 4), got {shape}; "
            "channels come last" + (f": store np.moveaxis({name}, 1, -1)" if planes else "")
        )
    return shape


def _of_row(what: str, numbers: int, row: ImageShape | None) -> tuple[int, ...]:
    if row is None:
        raise DataError(
            f"{what} must have the shape (N, H, W) or (N, H, W, 1 | 3 | 4), got rows of {numbers:,} numbers: "
            + which_shapes(numbers, "?shape={}")
        )
    if row.numbers != numbers:
        raise DataError(f"{what} must have rows of {row.numbers:,} numbers ({row}), got {numbers:,}")
    return row.height, row.width, row.channels


def _read_small(file: str, archive: zipfile.ZipFile, name: str) -> Array:
    """Labels, names or groups: whole in memory, once their declared size is known to be fair."""
    header = read_header(archive, f"{name}.npy")
    if header.objects:
        raise DataError(
            f"{file}: {name} must be a plain array, got pickled objects, which are not read: store "
            f"{name}.astype(str)"
        )
    if header.size > MOST_LABEL_BYTES:
        raise DataError(
            f"{file}: {name} must take at most {MOST_LABEL_BYTES:,} bytes, got {header.size:,} "
            f"({header.dtype}, shape {header.shape})"
        )
    if header.kind in "US" and header.width > WIDEST_TEXT:
        raise DataError(
            f"{file}: each of {name} must be a text of at most {WIDEST_TEXT:,} bytes, got room for "
            f"{header.width:,}: shorten them, and store {name}.astype(str)"
        )
    _check_whole(file, name, header)
    with archive.open(f"{name}.npy") as stream:
        found: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return found


def _check_whole(file: str, name: str, header: Header) -> None:
    if header.size != header.stored:
        raise DataError(
            f"{file}: {name} must be as long as it says, got {header.stored:,} bytes for the shape "
            f"{header.shape} of {header.dtype}, which takes {header.size:,}: {_AGAIN}"
        )
