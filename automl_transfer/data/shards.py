"""WebDataset shards: tar files whose members belong together by name (`0001.jpg`, `0001.cls`).

    photos/train-0000.tar    0001.jpg, 0001.cls, 0002.jpg, 0002.json, ...
    photos/test-0000.tar     a name that begins with a split's is that split; otherwise the seed splits

A sample's label is its `.cls` (or `.cls.txt`, `.label`), else `label`, `cls` or `class` of its `.json`. Where
labels are numbers, names of classes come from `classes.txt` beside the shards, a line each. Images are read
in place.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from automl_transfer.data.base import (
    BadImage,
    DatasetKind,
    Decoded,
    Inventory,
    Native,
    NoTaskError,
    Request,
    fitting_resolution,
    some,
)
from automl_transfer.data.decode import MAX_FILE_BYTES, SUFFIXES, header, read_image, see_deep
from automl_transfer.data.image_files import RANGE, range_of, signature_of, spelt
from automl_transfer.data.scaling import asked_range
from automl_transfer.data.split_names import almost_splits, split_of
from automl_transfer.domain.account import Reason
from automl_transfer.domain.pixel_range import PixelRange, Seen
from automl_transfer.domain.task import Split
from automl_transfer.errors import DataError
from automl_transfer.files import reading

LABELS = ("cls", "cls.txt", "label", "class")
"""Endings of members that hold a label."""
FIELDS = ("label", "cls", "class")
"""Names of a label in a sample's JSON."""
MOST_LABEL_BYTES = 1 << 20
LOOKED_AT = 500
"""Images whose headers are read to find a fitting resolution."""


@dataclass
class _Sample:
    image: tuple[Path, int, int] | None = None
    label: str | None = None
    several: bool = False


@dataclass
class ShardInventory(Inventory):
    """Images at their places within tar files: file, first byte and length."""

    places: Sequence[tuple[Path, int, int]] = field(default_factory=tuple)
    asked: PixelRange | None = None

    def prepare(self, scratch: Path) -> None:
        """Judge the range of images of more than 8 bits by all their values, as files in folders are.

        Raises:
            DataError: No usual range holds them, or they are scaled in different ways.
        """
        self.pixel_range = self.asked or range_of(self.name, self._deep, range(len(self.keys)), self.expected)

    def _deep(self, row: int) -> tuple[Seen, bool] | None:
        try:
            return see_deep(self._bytes(row))
        except (ValueError, OSError):  # decoding says what is wrong with it
            return None

    def _bytes(self, row: int) -> bytes:
        path, at, size = self.places[row]
        with path.open("rb") as stream:
            stream.seek(at)
            return stream.read(size)

    def native(self) -> Native:
        """Gray if every image that is looked at is; the resolution near their median side."""
        rows = np.linspace(0, len(self.places) - 1, min(len(self.places), LOOKED_AT)).astype(np.int64)
        seen = [found for row in rows if (found := self._head(int(row))) is not None]
        sides = [side for _, width, height in seen for side in (width, height)]
        gray = bool(seen) and all(is_gray for is_gray, _, _ in seen)
        return Native(1 if gray else 3, fitting_resolution(float(np.median(sides)) if sides else 0.0))

    def _head(self, row: int) -> tuple[bool, int, int] | None:
        try:
            return header(self._bytes(row))
        except (ValueError, OSError):
            return None

    def decode(self, row: int, channels: int, resolution: int) -> Decoded:
        """Read and decode image `row`."""
        return read_image(self._bytes(row), channels, resolution, self.pixel_range, self.fit)


class Shards(DatasetKind):
    """A tar file of samples, or a folder of such files."""

    options = RANGE

    def finds(self, path: Path) -> bool:
        """By what it is: a .tar file, or a folder that holds some, and at most text beside them."""
        if path.is_file():
            return path.suffix.lower() == ".tar"
        return bool(_tars(path)) and not any(
            each.is_dir() or each.suffix.lower() in SUFFIXES
            for each in path.iterdir() if not each.name.startswith(".")
        )  # fmt: skip

    def open(self, request: Request) -> Inventory:
        """List the samples of all shards, without reading an image.

        Raises:
            DataError: A shard is damaged or compressed, no sample has an image and a label, or labels are
                beyond the names of classes.txt.
        """
        assert request.location is not None
        place = request.location
        tars = [place] if place.is_file() else _tars(place)
        samples = {key: each for tar in tars for key, each in _samples(tar).items()}
        outside = [
            BadImage(key, "must be in one member each, got several images or labels", Reason.CONTRADICTED)
            for key, each in samples.items() if each.several
        ]  # fmt: skip
        outside += [
            BadImage(key, "has an image and no label", Reason.NO_LABEL)
            for key, each in samples.items()
            if each.image is not None and each.label is None and not each.several
        ]  # fmt: skip
        keys = sorted(
            key for key, each in samples.items()
            if each.image is not None and each.label is not None and not each.several
        )  # fmt: skip
        if not keys:
            raise NoTaskError(
                "shards must hold samples of an image and a label (0001.jpg beside 0001.cls or 0001.json), "
                f"got none among {len(samples):,} in {place.name!r}"
            )
        names = [str(samples[key].label) for key in keys]
        classes, labels = _classes(names, place)
        splits = _splits(keys, [tar.name for tar in tars])
        pixels = asked_range(request.options)
        return ShardInventory(
            name=place.name,
            classes=classes,
            labels=labels,
            keys=tuple(keys),
            signature=signature_of(f"shards {pixels}", place, [(tar.name, tar) for tar in tars]),
            splits=splits,
            outside=tuple(outside),
            places=tuple(image for key in keys if (image := samples[key].image) is not None),
            asked=pixels,
        )


def _tars(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.tar") if os.path.isfile(path))  # noqa: PTH113


def _samples(tar: Path) -> dict[str, _Sample]:
    """What a shard holds, by `SHARD/KEY`."""
    found: dict[str, _Sample] = {}
    with reading("a shard must be readable", tar.name, DataError), tar.open("rb") as start:
        todo = "unpack it (gunzip) first" if start.read(2) == b"\x1f\x8b" else "make it again"
    whole = reading("a shard must be a whole, uncompressed tar file", tar.name, DataError, todo)
    with whole, tarfile.open(tar, "r:") as stream:  # ":": not compressed, so that images are read in place
        for member in stream:
            if not member.isfile():
                continue
            path = PurePosixPath(member.name)
            stem, _, ending = path.name.partition(".")
            ending = ending.lower()
            if not stem:
                continue  # a hidden file, or no name at all
            key = spelt(f"{tar.name}/{path.with_name(stem).as_posix().lstrip('/')}")
            sample = found.setdefault(key, _Sample())
            if f".{ending.rpartition('.')[2]}" in SUFFIXES:
                if member.size > MAX_FILE_BYTES:
                    raise DataError(
                        f"an image must have at most {MAX_FILE_BYTES:,} bytes, got {member.size:,} for "
                        f"{member.name!r} in {tar.name}"
                    )
                sample.several |= sample.image is not None
                sample.image = (tar, member.offset_data, member.size)
            elif ending in LABELS or ending == "json":
                if member.size > MOST_LABEL_BYTES:
                    raise DataError(
                        f"a label must have at most {MOST_LABEL_BYTES:,} bytes, got {member.size:,} for "
                        f"{member.name!r} in {tar.name}"
                    )
                read = stream.extractfile(member)
                label = _label(read.read() if read is not None else b"", ending, member.name)
                if label is not None:
                    sample.several |= sample.label not in (None, label)
                    sample.label = label
        _refuse_cut_short(tar, stream.offset)
    return found


def _refuse_cut_short(tar: Path, end: int) -> None:
    """Tarfile takes the end of a file for the end of the archive, even within an image."""
    if tar.stat().st_size < end:
        raise tarfile.ReadError("the file ends within a member")


def _label(content: bytes, ending: str, name: str) -> str | None:
    text = content.decode("utf-8", "replace").strip()
    if ending != "json":
        return text or None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"a sample's JSON must be readable, got {error} in {name!r}") from error
    if not isinstance(value, dict):
        return None
    found = next((value[key] for key in FIELDS if key in value), None)
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else None


def _classes(names: list[str], place: Path) -> tuple[tuple[str, ...], np.ndarray]:
    whole = all(name.isascii() and name.isdigit() and len(name) < 10 for name in names)
    file = (place.parent if place.is_file() else place) / "classes.txt"
    if whole and file.is_file():
        with reading("the names of classes must be readable", file.name, DataError):
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        known = [line.strip() for line in lines]
        while known and not known[-1]:
            known.pop()
        beyond = sorted({int(name) for name in names if int(name) >= len(known)})
        if beyond:
            raise DataError(
                f"each label must have a name in classes.txt, got {len(known)} names and the labels "
                f"{some([str(each) for each in beyond], 5)}: add their lines"
            )
        if nameless := sorted({int(name) for name in names if not known[int(name)]}):
            raise DataError(
                f"each label must have a name in classes.txt, got the empty line {nameless[0] + 1} for the "
                f"label {nameless[0]}: label N is named in line N + 1"
            )
        used = {int(name): known[int(name)] for name in names}
        if twice := [name for name, count in Counter(used.values()).items() if count > 1]:
            raise DataError(
                f"classes must have different names, got {some(twice, 5)} twice in classes.txt: call them "
                "apart, such as 'crane (bird)' and 'crane (machine)'"
            )
        names = [known[int(name)] for name in names]
        whole = False
        there = set(used.values())
        classes = tuple(dict.fromkeys(name for name in known if name in there))
    else:
        known = sorted(set(names))  # 1 and 01 are two, in the same order each time
        classes = tuple(sorted(known, key=int) if whole else known)
    at = {name: number for number, name in enumerate(classes)}
    return classes, np.array([at[name] for name in names], np.int64)


def _splits(keys: list[str], shards: Sequence[str]) -> tuple[Split, ...] | None:
    """Splits that the names of shards state, where all of them do; None where none does.

    Raises:
        NoTaskError: Some do, or they may: images of a test split would be trained on.
    """
    stated = {spelt(name): split_of(re.split(r"[-_.]", name)[0]) for name in shards}
    if len(shards) < 2:
        return None
    if all(split is not None for split in stated.values()):
        return tuple(split for key in keys if (split := stated[key.split("/")[0]]) is not None)
    silent = [name for name, split in stated.items() if split is None]
    told = [name for name, split in stated.items() if split is not None] or sorted(almost_splits(silent))
    if told:
        other = next((name for name in silent if name not in told), silent[-1])
        raise NoTaskError(
            f"names of shards must all begin with the split that they belong to, or none, got {told[0]!r} "
            f"and {other!r}: rename them (train-0000.tar, val-0000.tar, test-0000.tar)"
        )
    return None
