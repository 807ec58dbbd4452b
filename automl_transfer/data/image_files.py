"""An inventory of image files: what folders and tables of labels have in common."""

from __future__ import annotations

import functools
import hashlib
import operator
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from automl_transfer.aborting import check_abort
from automl_transfer.data.base import Decoded, Inventory, Native, NoTaskError, fitting_resolution, some
from automl_transfer.data.decode import header, read_image, see_deep, threads
from automl_transfer.domain.pixel_range import PixelRange, Seen, judge, refuse_another_scale

RANGE = {"range": "of files of more than 8 bits: which numbers are black and white, LOW..HIGH"}
"""The option of datasets of files; where it is not said, all values together are judged."""

HOW = "?range=LOW..HIGH"

T = TypeVar("T")


@dataclass
class FileInventory(Inventory):
    """Files, decoded when asked; `prepare` looks through those of more than 8 bits.

    Attributes:
        asked: The range of numbers of more than 8 bits, where a person said it.
    """

    files: Sequence[Path] = field(default_factory=tuple)
    asked: PixelRange | None = None

    def prepare(self, scratch: Path) -> None:
        """Judge the range of files of more than 8 bits by all their values.

        Raises:
            DataError: No usual range holds them, or they are scaled in different ways.
        """
        self.pixel_range = self.asked or range_of(self.name, _deep, self.files, self.expected)

    def native(self) -> Native:
        """Gray if every image is; the resolution near the median side of all images."""
        with ThreadPoolExecutor(threads()) as pool:
            seen = [found for found in pool.map(_header, self.files, chunksize=64) if found is not None]
        sides = [side for _, width, height in seen for side in (width, height)]
        gray = bool(seen) and all(is_gray for is_gray, _, _ in seen)
        return Native(1 if gray else 3, fitting_resolution(float(np.median(sides)) if sides else 0.0))

    def decode(self, row: int, channels: int, resolution: int) -> Decoded:
        """Read and decode file `row`."""
        return read_image(self.files[row], channels, resolution, self.pixel_range, self.fit)


def range_of(
    name: str,
    look: Callable[[T], tuple[Seen, bool] | None],
    sources: Iterable[T],
    expected: PixelRange | None = None,
) -> PixelRange | None:
    """The one range of all images of more than 8 bits; None where there are none.

    Args:
        name: Of the dataset, for messages.
        look: As `decode.see_deep`, at one of `sources`.
        sources: All images.
        expected: As of an inventory.

    Raises:
        DataError: No usual range holds them, or they are scaled in different ways.
    """
    kinds: dict[str, Seen] = {}
    with ThreadPoolExecutor(threads()) as pool:
        for found in pool.map(look, sources, chunksize=16):
            check_abort()
            if found is not None:
                seen, fractions = found
                kind = "files of floats" if fractions else "files of more than 8 bits"
                kinds[kind] = kinds[kind] | seen if kind in kinds else seen
    if not kinds:
        return None
    together = functools.reduce(operator.or_, kinds.values())
    pixels = judge(together, f"{name}: {' and '.join(kinds)}", HOW, expected)
    for kind, seen in kinds.items():
        refuse_another_scale(seen, pixels, f"{name}: {kind}", HOW)
    return pixels


def key_of(path: Path, root: Path) -> str:
    """A file's name relative to `root`: the same everywhere, whichever spelling of "ü" a disk keeps."""
    return spelt(path.relative_to(root).as_posix())


def spelt(name: str) -> str:
    """A name of a file as text that can be written anywhere, in one spelling."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def refuse_twins(keys: Sequence[str]) -> None:
    """Refuse names of which two are the same once they are spelt in one way.

    Raises:
        NoTaskError: They are.
    """
    twins = [key for key, count in Counter(keys).items() if count > 1]
    if twins:
        raise NoTaskError(
            f"image names must differ by more than their Unicode spelling, got {some(twins, 5)} twice: "
            "rename one of each"
        )


def signature_of(kind: str, root: Path, files: Sequence[tuple[str, Path]]) -> str:
    """Changes whenever a file may have changed: from sizes and times, without reading any."""
    digest = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape"))
    for key, path in files:
        try:
            stat = path.stat()
            state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"\0{key}\0{state}".encode())
    return f"{kind} {digest.hexdigest()}"


def _deep(path: Path) -> tuple[Seen, bool] | None:
    try:
        return see_deep(path)
    except (ValueError, OSError):  # decoding says what is wrong with it
        return None


def _header(path: Path) -> tuple[bool, int, int] | None:
    try:
        return header(path)
    except (ValueError, OSError):
        return None
