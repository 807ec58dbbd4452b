"""From stored numbers of any type and byte order to 8-bit pixels, by their values alone."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import Pixels
from automl_transfer.domain.pixel_range import (
    EIGHT_BITS,
    PixelRange,
    Seen,
    asked,
    refuse_another_scale,
    refuse_eight_bits,
    refuse_zeros_and_ones,
)
from automl_transfer.errors import DataError

Array = npt.NDArray[Any]

_BLOCK = 1 << 22
"""Values that are looked at or scaled at a time: what is in between takes 32 MB."""


def see(values: Array) -> Seen | None:
    """The extremes of an array's finite values; None where there are none.

    Args:
        values: Booleans, integers or floats of any size and byte order; may be memory-mapped.
    """
    found: Seen | None = None
    for block in _blocks(values):
        here = _see(block)
        if here is not None:
            found = here if found is None else found | here
    return found


def scaled_alike(values: Array, pixels: PixelRange, what: str, how: str = "") -> Array:
    """Numbers that a model of a range is given, checked; booleans become its black and white.

    What may be stored pixels (unsigned, of one byte) may be as dark as it is, but for models of more bits.

    Raises:
        DataError: They are plainly scaled in another way.
    """
    if values.dtype == bool:
        return np.where(values, np.float32(pixels.high), np.float32(pixels.low))
    seen = see(values)
    if seen is not None:
        refuse_another_scale(seen, pixels, what, how)
        if values.dtype.itemsize > 1 or values.dtype.kind == "i":
            refuse_zeros_and_ones(seen, pixels, what)
        else:
            refuse_eight_bits(pixels, what)
    return values


def to_pixels(values: Array, pixels: PixelRange) -> Pixels:
    """Scale an array of the same shape: linear, rounded, clipped. Equal values give equal pixels.

    Raises:
        ValueError: There are values that are not finite.
    """
    if values.dtype == np.uint8 and (pixels.low, pixels.high) == (EIGHT_BITS.low, EIGHT_BITS.high):
        return np.ascontiguousarray(values)
    levels = None
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:  # few enough to look them up
        levels = _levels(values.dtype.itemsize, pixels)
    scaled = np.empty(values.shape, np.uint8)
    flat, start = scaled.reshape(-1), 0
    for block in _blocks(values):
        numbers = block.reshape(-1)
        flat[start : start + len(numbers)] = _scaled(numbers, pixels) if levels is None else levels[numbers]
        start += len(numbers)
    return scaled


@functools.lru_cache(maxsize=8)
def _levels(size: int, pixels: PixelRange) -> Pixels:
    """The pixel of each number that fits into so many bytes."""
    return _scaled(np.arange(1 << (8 * size)), pixels)


def _scaled(numbers: Array, pixels: PixelRange) -> Pixels:
    with np.errstate(over="ignore"):  # numbers near the largest there are: clipped
        exact = numbers.astype(np.float64)
        if not np.isfinite(exact).all():
            raise ValueError("pixels must be finite, got NaN or infinity")
        share = np.clip((exact - pixels.low) / (pixels.high - pixels.low), 0.0, 1.0)
    return np.rint(share * 255.0).astype(np.uint8)


def asked_range(options: Mapping[str, str]) -> PixelRange | None:
    """What the option `range` of a dataset says; None where it is not given.

    Raises:
        DataError: It does not read LOW..HIGH.
    """
    text = options.get("range")
    if text is None:
        return None
    low, _, high = text.partition("..")
    try:
        return asked(float(low), float(high))
    except ValueError:
        raise DataError(f"range must read LOW..HIGH, like 0..4095, got {text!r}") from None


def _blocks(values: Array) -> list[Array]:
    if values.ndim == 0 or values.size <= _BLOCK:
        return [values]
    rows = max(1, _BLOCK // max(1, values[0].size))
    return [values[start : start + rows] for start in range(0, len(values), rows)]


def _see(block: Array) -> Seen | None:
    if not block.size:
        return None
    if block.dtype.kind != "f":
        return Seen(float(block.min()), float(block.max()), whole=True)
    with np.errstate(over="ignore"):
        finite = block.astype(np.float64)
    if not np.isfinite(finite).all():
        finite = finite[np.isfinite(finite)]
        if not finite.size:
            return None
    return Seen(float(finite.min()), float(finite.max()), whole=bool((finite == np.rint(finite)).all()))
