"""Which stored numbers are black and white: judged once for a dataset, by its values, and kept.

The type that numbers are stored in says little: 12-bit cameras write 16-bit files, and 0..255 comes as
float64. So the smallest usual range that holds all values of a dataset is taken, whatever their type:

    0 to 1, 0 to 16, 8, 10, 12, 14 or 16 bits, -1 to 1, -0.5 to 0.5, signed 8 or 16 bits

What fits none is refused, once for the dataset, and a person says the range (`asked`). The range travels
with the task, the recipe and the model, so that prediction scales as training did.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from automl_transfer.domain.strict_json import Frozen
from automl_transfer.errors import DataError

SLACK = 0.5 / 255.0
"""Half a gray level, as a share of a range: resizing and rounding overshoot by so much."""

_ALIKE = 8.0
"""Parts of a dataset whose own ranges differ by this factor or more are not scaled alike."""


class PixelRange(Frozen):
    """The stored number that is black, and the one that is white; linear between, clipped outside.

    Attributes:
        low: Becomes 0.
        high: Becomes 255.
        word: For people: "12 bits".
    """

    low: float
    high: float
    word: str = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"low and high must be nearer to each other, got {self.low:g} and {self.high:g}")
        return self

    def holds(self, seen: Seen) -> bool:
        """Whether all values lie in the range; numbers with fractions but for half a gray level."""
        slack = 0.0 if seen.whole else (self.high - self.low) * SLACK
        return self.low - slack <= seen.low and seen.high <= self.high + slack

    def __str__(self) -> str:
        bounds = f"{self.low:g} to {self.high:g}"
        return self.word if self.word == bounds else f"{self.word} ({bounds})"


Fit = Literal["squash", "crop", "pad"]
"""How an image of any shape becomes a square: its sides are changed, its middle is kept, or gray is added."""


class Ranged(Frozen):
    """What says how its images are decoded: a task, a recipe, a model.

    Both are written only where they are not the usual, so that files about such images are as they were
    before there was a choice.

    Attributes:
        pixel_range: Which stored numbers are black and white; None for ordinary image files of 8 bits.
        fit: How an image of any shape becomes a square.
    """

    pixel_range: PixelRange | None = None
    fit: Fit = Field(default="squash", exclude_if=lambda value: value == "squash")

    @model_serializer(mode="wrap")
    def _where_there_is_one(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = inner(self)
        pixels = found.pop("pixel_range", None)
        return found if pixels is None else {**found, "pixel_range": pixels}


@dataclass(frozen=True)
class Seen:
    """What matters of many values: the smallest and largest finite one, and whether all are whole."""

    low: float
    high: float
    whole: bool

    def __or__(self, other: Seen) -> Seen:
        """Of both together."""
        return Seen(min(self.low, other.low), max(self.high, other.high), self.whole and other.whole)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


EIGHT_BITS = PixelRange(low=0.0, high=255.0, word="8 bits")
"""Ordinary image files, which are never judged: their format says it."""

_UNIT = PixelRange(low=0.0, high=1.0, word="0 to 1")
_SIXTEEN = PixelRange(low=0.0, high=16.0, word="0 to 16")
_BITS = (
    EIGHT_BITS,
    *(PixelRange(low=0.0, high=2.0**bits - 1.0, word=f"{bits} bits") for bits in (10, 12, 14, 16)),
)
_SIGNED = (
    PixelRange(low=-0.5, high=0.5, word="-0.5 to 0.5"),
    PixelRange(low=-1.0, high=1.0, word="-1 to 1"),
    PixelRange(low=-128.0, high=127.0, word="signed 8 bits"),
    PixelRange(low=-32768.0, high=32767.0, word="signed 16 bits"),
)
_USUAL = (_UNIT, _SIXTEEN, *_BITS, *_SIGNED)


def usual(seen: Seen) -> PixelRange | None:
    """The smallest usual range that holds the values; None where that would be a guess.

    Numbers with fractions between 1 and 16 fit none (an overshoot of 0 to 1, or standardised pixels?),
    and a signed range must be used to more than half of its low end, for the same reason.
    """
    if _UNIT.holds(seen):
        return _UNIT
    if seen.whole and _SIXTEEN.holds(seen):
        return _SIXTEEN
    bits = next((each for each in _BITS if each.holds(seen)), None)
    if bits is not None and seen.high > _SIXTEEN.high:
        return bits
    return next((each for each in _SIGNED if each.holds(seen) and seen.low < each.low / 2.0), None)


def judge(seen: Seen, what: str, how: str, expected: PixelRange | None = None) -> PixelRange:
    """The range of a dataset's values: the expected one where they may be scaled by it, or else a usual one.

    Args:
        seen: Of all images together.
        what: Whose values they are, for the error: "a.npz: images".
        how: How a person says the range here, for the error: "?range=LOW..HIGH".
        expected: Of the model that will see them: dark images of 12 bits are not taken for 10 bits.

    Raises:
        DataError: No usual range fits.
    """
    if expected is not None and _may_be_scaled_by(expected, seen):
        return expected
    found = usual(seen)
    if found is None:
        raise DataError(
            f"{what} must lie in a usual range of pixels (0 to 1, 0 to 255, 12 bits, 16 bits, -1 to 1), "
            f"got {seen}{'' if seen.whole else ', with fractions'}: say which values are black and white "
            f"({how}), or clip and scale them to 0..255"
        )
    return found


def asked(low: float, high: float) -> PixelRange:
    """The range that a person gave.

    Raises:
        DataError: It is none.
    """
    if not (math.isfinite(high - low) and low < high):
        raise DataError(f"a range of pixels must be two numbers, the smaller first, got {low:g} and {high:g}")
    return PixelRange(low=low, high=high, word=f"{low:g} to {high:g}")


def refuse_another_scale(seen: Seen, pixels: PixelRange, what: str, how: str = "") -> None:
    """Refuse values that are plainly scaled in another way than the range: 0..1 where 0..255 is meant.

    Dark images are fine: only numbers that fill another, much smaller usual range are refused, and
    numbers outside of a usual range. A range that a person gave is a window: what lies outside is clipped.

    Raises:
        DataError: They are.
    """
    if pixels in _USUAL and not pixels.holds(seen):
        said = f", or say the range of all of them ({how})" if how else ""
        raise DataError(
            f"{what} must lie in the range of the others, {pixels}, got {seen}: scale all images alike{said}"
        )
    if _fills_a_smaller_one(seen, pixels):
        raise DataError(
            f"{what} must be scaled like the others, {pixels}, got numbers with fractions from {seen}: "
            "scale all images alike"
        )


def refuse_zeros_and_ones(seen: Seen, pixels: PixelRange, what: str) -> None:
    """Refuse values of which none is above 1 where 1 is nearly black.

    For numbers that are not stored pixels, which may be dark: floats, or integers that somebody computed.

    Raises:
        DataError: They are 0 and 1, and the range is much larger.
    """
    if seen.whole and seen.low >= 0.0 < seen.high <= 1.0 and pixels.low == 0.0 and pixels.high >= 128.0:
        raise DataError(
            f"{what} must lie in {pixels}, got nothing but 0 and 1, which are both black there: if 1 is "
            f"white, pass images * {pixels.high:g}, or an array of the type bool"
        )


def refuse_eight_bits(pixels: PixelRange, what: str) -> None:
    """Refuse numbers of one byte where others are of more bits: as these they are nearly black.

    A range that a person gave may have been meant for them.

    Raises:
        DataError: The range is a usual one of more than 8 bits.
    """
    if pixels in _USUAL and pixels.high > EIGHT_BITS.high:
        black = f" - {-pixels.low:g}" if pixels.low else ""
        raise DataError(
            f"{what} must be scaled like the others, {pixels}, got uint8, which is of 8 bits and nearly "
            f"black there: pass {what} * ({pixels.high - pixels.low:g} / 255){black}, or {what}.astype(int) "
            "where they are so dark"
        )


def _may_be_scaled_by(pixels: PixelRange, seen: Seen) -> bool:
    return (pixels not in _USUAL or pixels.holds(seen)) and not _fills_a_smaller_one(seen, pixels)


def _fills_a_smaller_one(seen: Seen, pixels: PixelRange) -> bool:
    own = None if seen.whole else usual(seen)
    return own is not None and own.low >= pixels.low and own.high * _ALIKE <= pixels.high
