"""What is measured about a study beside its trials: confirmations, audits, profiles, test scores."""

from __future__ import annotations

import base64
import zlib
from array import array
from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field

from automl_transfer.domain.measured import Measured
from automl_transfer.domain.strict_json import Frozen, unsaid
from automl_transfer.domain.words import images_at

RunKind = Literal["confirm", "audit"]
MOST_NUMBERS = 1 << 20
"""Images of a pool whose groups are kept by number."""


class ExtraRun(Measured):
    """One more training of a trial's strategy, outside of the search.

    A `confirm` run has a seed and a split of its own: run r trains on the pool of training and
    validation images without a block that it is judged on. The same r means the same seed and block
    for every strategy, so runs are compared pair by pair. An `audit` run trains a pruned trial on, to
    the end that it was denied: with the search's own seed and split.

    Attributes:
        root: Number of the root trial whose strategy was trained.
        run: Counts from 0 within kind and strategy.
        epoch: The epoch whose weights were judged.
        images: How many were judged.
        judged, correct: One bit an image of the pool (sorted rows of training and validation): whether
            this run judged it, and whether the answer was right; `pack_bits`. Empty for audits.
        chose: One bit an image of the pool: whether the search validated on it, and so chose the candidates
            by it. Empty, and not written, for audits and in runs of earlier versions; there `unseen` is None.
        unseen: Scores of the judged images that did not choose; None where every judged one did.
    """

    kind: RunKind
    root: int
    run: int = Field(ge=0)
    seed: int = Field(ge=0)
    epoch: int = Field(ge=0)
    images: int = Field(ge=1)
    nll: float
    seconds: float = Field(ge=0.0)
    judged: str = ""
    correct: str = ""
    chose: str = Field(default="", exclude_if=lambda value: not value)
    unseen: Measured | None = Field(default=None, exclude_if=unsaid)


class FailedRun(Frozen):
    """A confirmation or audit that could not be trained to its end, and why."""

    kind: RunKind
    root: int
    run: int = Field(ge=0)
    reason: str = Field(max_length=2000)


class TestLook(Measured):
    """One evaluation of a winner on the test split, which a study should have one of.

    Attributes:
        root: Number of the root trial whose model was judged.
        refit: Whether it was trained on training + validation images first.
        weights_sha256: Of the model: the same weights need not be judged again.
        interval: 95% interval of the accuracy (`reporting.confirmed.validation_interval`).
        images: How many were judged.
        shipped_as: What the weights were put to, where they did not answer alone: "soup of 3, flips".
    """

    __test__: ClassVar[bool] = False  # pytest: no test class

    root: int
    refit: bool
    weights_sha256: str
    nll: float | None
    interval: tuple[float, float]
    images: int = Field(ge=1)
    shipped_as: str = Field(default="", max_length=100, exclude_if=lambda value: not value)


def pack_numbers(numbers: Iterable[int]) -> str:
    """Numbers from 0 to 2^32 - 1 as text."""
    return base64.b64encode(zlib.compress(array("I", numbers).tobytes())).decode("ascii")


def unpack_numbers(text: str) -> list[int]:
    """What `pack_numbers` gave.

    >>> unpack_numbers(pack_numbers([0, 7, 7, 70_000]))
    [0, 7, 7, 70000]
    """
    found = array("I")
    found.frombytes(zlib.decompressobj().decompress(base64.b64decode(text), found.itemsize * MOST_NUMBERS))
    return found.tolist()


def pack_bits(bits: Iterable[bool]) -> str:
    """Bits as base64, eight to a byte, the first one in the highest place.

    >>> pack_bits([True, False, False, False, False, False, False, True])
    'gQ=='
    """
    values = list(bits)
    values += [False] * (-len(values) % 8)
    packed = bytes(
        sum(bool(bit) << (7 - place) for place, bit in enumerate(values[start : start + 8]))
        for start in range(0, len(values), 8)
    )
    return base64.b64encode(packed).decode("ascii")


class CutRecord(Frozen):
    """The best closed-form head on one cut of a source, pooled to grid x grid, by leave-one-out.

    Attributes:
        cut: Groups kept.
        truncation: Eighths of the groups that give this cut; None where no eighths do.
        taps: Number of topmost outputs that the head reads.
        resolution_scale: Images were resized by this factor.
        detail: They were decoded so.
        scores: What `domain.scores` say of the features; of those pooled to 1x1 at the first resolution only.
    """

    cut: int
    grid: int
    features: int
    loo_accuracy: float
    loo_nll: float
    ridge_lambda: float
    truncation: int | None
    taps: int = 1
    resolution_scale: float = 1.0
    detail: bool = Field(default=False, exclude_if=lambda value: not value)
    scores: dict[str, float] = Field(default_factory=dict, exclude_if=lambda value: not value)

    @property
    def where(self) -> str:
        """Where the head reads, in words."""
        outputs = f"after group {self.cut}" + (f" and the {self.taps - 1} before it" if self.taps > 1 else "")
        scale = self.resolution_scale
        images = f", {images_at(scale, detail=self.detail)}" if scale != 1.0 else ""
        return f"{outputs}, pooled {self.grid}x{self.grid}{images}"


class ProfileRecord(Frozen):
    """The profile of one source on the task: how good a closed-form head is at each of its cuts.

    Attributes:
        images: Training images it was made of.
        cuts: Single cuts at every grid and resolution.
        joint: The best heads that read several outputs, best first.
        best: The best head that a strategy can name, on more images; None in records of earlier versions.
        left_out: Cuts with NaN or infinite activations, at some grid or resolution: no head reads these.
        frechet: How far the images are from those the source was trained on (`training.frechet`), or None.
        unscored: Why a score says nothing at some cut, by the score's name.
    """

    source: str
    normalise: str
    images: int
    seconds: float
    cuts: tuple[CutRecord, ...]
    joint: tuple[CutRecord, ...] = ()
    best: CutRecord | None = None
    left_out: tuple[int, ...] = ()
    frechet: float | None = Field(default=None, exclude_if=unsaid)
    unscored: dict[str, str] = Field(default_factory=dict, exclude_if=lambda value: not value)

    @property
    def warning(self) -> str:
        """What a person should know, in words; empty where there is nothing."""
        cuts = ", ".join(map(str, self.left_out))
        return f"left out for NaN or infinite activations: after group {cuts}" if cuts else ""

    @property
    def largest(self) -> float:
        """Images were resized by this factor at the most."""
        return max((cut.resolution_scale for cut in self.cuts), default=1.0)
