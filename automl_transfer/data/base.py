"""The contract of a dataset kind: what it tells about its images, and what it promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from automl_transfer.domain.account import Reason
from automl_transfer.domain.pixel_range import Fit, PixelRange
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import Change, Split
from automl_transfer.errors import DataError

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

SMALLEST, LARGEST, STEP = 32, 224, 32
"""Pixels: bounds and step of the resolution that is chosen where none is asked for."""


class NoTaskError(DataError):
    """The files are there and can be described, but as they lie they make no task."""


@dataclass(frozen=True)
class BadImage:
    """An image that was meant to be used and cannot be: the reason in words, its kind, and its class."""

    key: str
    reason: str
    kind: Reason = Reason.UNREADABLE
    class_name: str = ""


@dataclass(frozen=True)
class Unused:
    """A file that is left out, and the class in whose folder it lies, if any."""

    key: str
    reason: Reason
    class_name: str = ""


@dataclass(frozen=True)
class Native:
    """What the images are as they lie: 1 (all gray) or 3 channels, and a fitting resolution."""

    channels: int
    resolution: int


@dataclass(frozen=True)
class Decoded:
    """One image at the working resolution, and the height and width it was stored with.

    `frames` says whether its file holds more images than this one.
    """

    pixels: Pixels
    height: int
    width: int
    frames: bool = False


@dataclass(frozen=True)
class Request:
    """What a dataset kind is asked to open.

    Attributes:
        spec: The task as the user specified it; kinds read `seed`, `splits` and `group_from`.
        location: The folder or file; None for registered names.
        options: What follows the `?`, without the options that every kind has.
        data_root: Where relative folders lie on this machine.
    """

    spec: TaskSpec
    location: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    data_root: Path | None = None


@dataclass
class Inventory(ABC):
    """All images of a dataset, before any is decoded.

    Obligations:
    - Rows are in an order that depends on the data only: the same on every machine.
    - `labels[i]` is the position of row i's class in `classes`. `keys[i]` is unique and relative.
    - `decode` may be called from several threads at once, in any order and repeatedly, and gives the
      same pixels each time. A row that cannot be read raises ValueError with the reason as one
      sentence (OSError where the file itself cannot be opened); it never gives partial pixels.
    - `signature` changes whenever a pixel of any row could have changed, and only has to be right on
      this machine: cached pixels are looked up by it. It must be cheap: no image is decoded for it.
    - Numbers that are no 8-bit pixels are scaled by one range for all rows, which `prepare` judges by all
      values (`domain.pixel_range`) and keeps in `pixel_range`; what fits none is one DataError.

    Attributes:
        groups: Row i's group (a patient, an object), or None. A group never straddles splits.
        weights: How often row i counts in training (`data.weights`), or None: once.
        splits: Row i's split where the dataset declares it, or None where rows are split by seed.
            Splits that no row declares are carved out of the training rows (see `splits.assign`).
        outside: Images that were meant to be used and cannot be, as is known before any is decoded: the
            dataset is refused for them, unless the user skips bad images.
        left_out: Files that are no images of the dataset: counted, no reason to refuse it.
        unlabelled: Images without a label (-1 in its `labels`), if there are any; decoded when asked for, as
            the others are.
        notes: What else had to be decided, each as one sentence.
        pixel_range: Which stored numbers are black and white; known once `prepare` has run. None for
            ordinary files of 8 bits.
        expected: The range of the model that will see the images: it is taken where they may be scaled by it.
        fit: How `decode` makes an image of any shape a square.
        label_preserving: What leaves an image's class as it is; None where nobody knows.
        threaded: Whether `decode` reads or decompresses, which threads can do at the same time.
    """

    threaded: ClassVar[bool] = True
    name: str
    classes: tuple[str, ...]
    labels: Rows
    keys: tuple[str, ...]
    signature: str
    groups: tuple[str, ...] | None = None
    splits: tuple[Split, ...] | None = None
    outside: tuple[BadImage, ...] = ()
    notes: tuple[str, ...] = ()
    pixel_range: PixelRange | None = None
    expected: PixelRange | None = None
    left_out: tuple[Unused, ...] = ()
    fit: Fit = "squash"
    label_preserving: tuple[Change, ...] | None = None
    unlabelled: Inventory | None = None
    weights: npt.NDArray[np.float64] | None = None

    @property
    def scratch_bytes(self) -> int:
        """Bytes of disk that `prepare` needs."""
        return 0

    def expecting(self, pixels: PixelRange) -> Self:
        """The same images, for a model that was trained with this range."""
        other = copy(self)
        other.expected = pixels
        other.signature = f"{self.signature} for {pixels.low!r}..{pixels.high!r}"
        return other

    def prepare(self, scratch: Path) -> None:
        """Get ready to decode, before `native` and `decode`.

        Called again, with a folder of its own, for the same images at another resolution. `scratch` is
        deleted later.
        """
        return

    @abstractmethod
    def native(self) -> Native:
        """Channels and a fitting resolution. May read headers; unreadable images do not count."""

    @abstractmethod
    def decode(self, row: int, channels: int, resolution: int) -> Decoded:
        """Row `row` as uint8 (resolution, resolution, channels)."""


class DatasetKind(ABC):
    """Opens one kind of dataset.

    Attributes:
        options: The options this kind understands after a `?`, each with a line for people.
    """

    options: Mapping[str, str] = {}

    def finds(self, path: Path) -> bool:
        """Whether what lies at this path (a file, or a folder) is of this kind, which then needs no name.

        Quick, and without reading images; must not raise.
        """
        return False

    @abstractmethod
    def open(self, request: Request) -> Inventory:
        """List the images.

        Raises:
            DataError: The data is missing, empty or inconsistent; names what is wrong.
        """


def fitting_resolution(side: float) -> int:
    """A multiple of 32 between 32 and 224 near to `side` (pixels): the choice for users' own images."""
    return int(min(LARGEST, max(SMALLEST, STEP * round(side / STEP))))


def capitals_only(classes: Iterable[str]) -> tuple[str, ...]:
    """A sentence where names of classes differ in their capitals only; else none."""
    names = list(classes)
    times = Counter(name.casefold() for name in names)
    found = [name for name in names if times[name.casefold()] > 1]
    if not found:
        return ()
    return (f"classes that differ in capital letters only are different classes: {some(found, 6)}",)


def some(names: list[str] | tuple[str, ...], limit: int = 20) -> str:
    """The first names, quoted, and how many more there are."""
    text = ", ".join(repr(name) for name in names[:limit])
    return f"{text} and {len(names) - limit} more" if len(names) > limit else text
