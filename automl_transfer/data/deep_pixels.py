"""Images of more than 8 bits a number: 16-bit and 32-bit integers, and floats.

Pillow keeps gray ones as they are. Of colour it keeps the upper byte of two, so that 12-bit values would
become 0..15: the lower bytes are read in a second pass, with the order of the bytes turned round.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from automl_transfer.data.scaling import see, to_pixels
from automl_transfer.domain.pixel_range import PixelRange, Seen, refuse_another_scale

Numbers = npt.NDArray[Any]

SIXTEEN_BITS = PixelRange(low=0.0, high=65535.0, word="16 bits")
UNIT = PixelRange(low=0.0, high=1.0, word="0 to 1")

_PERHAPS_ALL = 16383
"""What 14 bits hold: of one image nobody can tell whether it is dark or not of 16 bits."""

_OTHER = "B" if sys.byteorder == "little" else "L"
_TURNED = {
    f"{colour};16{order}": f"{colour};16{turned}"
    for colour in ("RGB", "RGBA")
    for order, turned in (("B", "L"), ("L", "B"), ("N", _OTHER))
}
"""Pillow's names of how colour of 16 bits is stored, and of the same in the other order of bytes."""

_GRAY_ALPHA = "LA;16B"
"""Gray and transparency of 16 bits in a PNG: as long as RGBA of 8 bits, and so it can be read as that."""

_DEEP = re.compile(r";16[BLN]$")
"""How Pillow's names of stored numbers of 16 bits end, whatever the colours."""

_BITS, _PLANES, _SEPARATE = 258, 284, 2


def numbers_of(image: ImageFile.ImageFile, again: Callable[[], ImageFile.ImageFile]) -> Numbers | None:
    """The stored numbers (H, W) or (H, W, 3 | 4) of an image of more than 8 bits; None for all others.

    Args:
        image: Opened, and not loaded yet; it is loaded where it is deep.
        again: Opens it once more.

    Raises:
        ValueError: Its colours are stored in a way of more than 8 bits that Pillow reads wrongly.
        Exception: Whatever Pillow raises at damaged files.
    """
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        image.load()
        return np.asarray(image)
    if _deep_planes(image):
        raise ValueError("16-bit colour in separate planes is not read: save it interleaved")
    stored = {_raw_mode(tile.args) for tile in image.tile}
    if odd := sorted(mode for mode in stored - {*_TURNED, _GRAY_ALPHA} if _DEEP.search(mode)):
        raise ValueError(f"16-bit colour stored as {odd[0]} is not read: save it as RGB or RGBA")
    if not stored or not stored <= {*_TURNED, _GRAY_ALPHA}:
        return None
    image.load()
    with again() as second:
        # The tiles say how stored bytes become pixels.
        second.tile = [tile._replace(args=_turned(tile.args)) for tile in second.tile]
        second.load()
        other = np.asarray(second).astype(np.uint16)
    if stored == {_GRAY_ALPHA}:
        both = other[..., 0::2] * np.uint16(256) + other[..., 1::2]
        return both[..., [0, 0, 0, 1]]
    numbers: Numbers = np.asarray(image).astype(np.uint16) * np.uint16(256) + other
    return numbers


def seen_in(numbers: Numbers) -> Seen | None:
    """The extremes of an image's numbers; transparency does not count."""
    return see(numbers[..., :3] if numbers.ndim == 3 else numbers)


def in_eight_bits(numbers: Numbers, pixels: PixelRange | None) -> Image.Image:
    """Scaled by the range of their dataset; without one, 0..65535 (integers) or 0..1 (floats) to 0..255.

    Raises:
        ValueError: Numbers are not finite or, without a range, not in the usual one of their type; or so
            small of 16 bits that they may be of fewer, and would be too dark.
        DataError: They are plainly scaled in another way than the range.
    """
    found = seen_in(numbers)
    if found is not None and pixels is not None:
        refuse_another_scale(found, pixels, "pixels")
    if found is not None and pixels is None:
        pixels = UNIT if numbers.dtype.kind == "f" else SIXTEEN_BITS
        if found.low < pixels.low or found.high > pixels.high:
            rule = "float pixels must lie in [0, 1]"
            rule = rule if pixels is UNIT else "integer pixels must lie in 0..65535"
            raise ValueError(f"{rule}, got {found.low:g} to {found.high:g}")
        if pixels is SIXTEEN_BITS and 0 < found.high <= _PERHAPS_ALL:
            raise ValueError(
                f"integers of 16 bits that reach only {found.high:g} may be of 10, 12 or 14 bits where 8 "
                "are expected: scale them to 8 bits"
            )
    return Image.fromarray(to_pixels(numbers, pixels or UNIT))


def _raw_mode(args: Any) -> str:
    return str(args[0] if isinstance(args, tuple) else args)


def _turned(args: Any) -> Any:
    if args == _GRAY_ALPHA:
        return "RGBA"
    return (_TURNED[args[0]], *args[1:]) if isinstance(args, tuple) else _TURNED[args]


def _deep_planes(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    bits = tags.get(_BITS, ())
    deep = max(bits if isinstance(bits, tuple) else (bits,), default=8) > 8
    return deep and tags.get(_PLANES) == _SEPARATE and image.mode not in ("L", "P")
