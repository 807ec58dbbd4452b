"""Which range of stored numbers is judged to be meant, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from automl_transfer.domain.pixel_range import (
    EIGHT_BITS,
    PixelRange,
    Seen,
    asked,
    judge,
    refuse_another_scale,
)
from automl_transfer.errors import DataError

HOW = "?range=LOW..HIGH"


@pytest.mark.parametrize(
    ("low", "high", "whole", "word"),
    [
        (0, 1, True, "0 to 1"),
        (0, 0, True, "0 to 1"),
        (0.0, 0.97, False, "0 to 1"),
        (-0.001, 1.001, False, "0 to 1"),
        (0, 16, True, "0 to 16"),
        (0, 17, True, "8 bits (0 to 255)"),
        (3.5, 254.9, False, "8 bits (0 to 255)"),
        (0, 255, True, "8 bits (0 to 255)"),
        (0, 1000, True, "10 bits (0 to 1023)"),
        (0, 4095, True, "12 bits (0 to 4095)"),
        (0, 5000, False, "14 bits (0 to 16383)"),
        (0, 65535, True, "16 bits (0 to 65535)"),
        (-0.4, 255.3, False, "8 bits (0 to 255)"),
        (-0.5, 0.5, False, "-0.5 to 0.5"),
        (-1, 1, True, "-1 to 1"),
        (-0.99, 0.8, False, "-1 to 1"),
        (-128, 127, True, "signed 8 bits (-128 to 127)"),
        (-32768, 30000, True, "signed 16 bits (-32768 to 32767)"),
    ],
)
def test_d6_the_smallest_usual_range_is_meant(low: float, high: float, whole: bool, word: str) -> None:
    assert str(judge(Seen(low, high, whole), "X", HOW)) == word


@pytest.mark.parametrize(
    ("low", "high", "whole"),
    [
        (0.0, 1.02, False),  # an overshoot, or 0 to 16?
        (-0.05, 1.0, False),  # an overshoot, or -1 to 1?
        (-2.1, 2.6, False),  # standardised
        (-1024, 3071, True),  # a computed tomogram
        (-56, 55, True),
        (0, 65536, True),
        (0, 1e300, False),
    ],
)
def test_d13_what_fits_no_usual_range_is_refused_once_with_what_to_do(
    low: float, high: float, whole: bool
) -> None:
    with pytest.raises(DataError, match=r"usual range of pixels .* got .* to .*\(\?range=LOW\.\.HIGH\)"):
        judge(Seen(low, high, whole), "a.npz: images", HOW)


def test_parts_that_are_scaled_in_another_way_are_refused() -> None:
    refuse_another_scale(Seen(0, 9, whole=True), EIGHT_BITS, "X", HOW)  # dark, and that is all
    refuse_another_scale(Seen(0, 180.5, whole=False), EIGHT_BITS, "X", HOW)
    with pytest.raises(DataError, match=r"scaled like the others, 8 bits .* fractions from 0 to 0\.9"):
        refuse_another_scale(Seen(0, 0.9, whole=False), EIGHT_BITS, "X", HOW)
    with pytest.raises(DataError, match=r"range of the others, 8 bits \(0 to 255\), got 0 to 300"):
        refuse_another_scale(Seen(0, 300, whole=True), EIGHT_BITS, "X", HOW)


def test_a_range_of_a_persons_own() -> None:
    assert str(asked(-1024, 3071)) == "-1024 to 3071"
    for low, high in ((1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))):
        with pytest.raises(DataError, match="two numbers, the smaller first"):
            asked(low, high)
    with pytest.raises(ValidationError, match="low must be below high"):
        PixelRange(low=1.0, high=0.0, word="no")
