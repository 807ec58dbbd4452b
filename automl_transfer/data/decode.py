"""From image files to uint8 pixels at the working resolution.

An image is resized to a square, antialiased: without keeping its aspect ratio, so that the whole of it stays
visible ("squash"), by its middle ("crop"), or with gray beside it ("pad"). Every scaling is fixed, never
fitted to the image:

- numbers of more than 8 bits: the range of their dataset becomes 0..255 (`domain.pixel_range`). For images
  of no dataset 0..65535 (integers) or 0..1 (float TIFF) does, but what fits into 14 bits is refused.
- transparency is composited on white; palette, CMYK, YCbCr and HSV become RGB (ICC profiles are not
  applied); RGB becomes gray with the weights of ITU-R BT.601.
- EXIF orientation is applied. Of animations and stacks the first frame is taken.

Truncated files are errors, and so are images of more pixels than Pillow's limit against decompression
bombs (about 89 million). Formats that run other programs (EPS, PDF, WMF) are not opened.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from automl_transfer.data.base import Decoded, Pixels
from automl_transfer.data.deep_pixels import in_eight_bits, numbers_of, seen_in
from automl_transfer.data.memory_budget import DECODING
from automl_transfer.data.png_text import without_text
from automl_transfer.domain.pixel_range import Fit, PixelRange, Seen
from automl_transfer.errors import DataError
from automl_transfer.machine import usable_cores

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k"),
    "AVIF": (".avif",),
    "TGA": (".tga",),
    "MPO": (".mpo",),
}
"""Formats that are opened, by Pillow's names, and the suffixes by which files count as images."""

SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

MAX_PIXELS = 89_478_485
"""Pillow's own limit: a quarter of a gigabyte of RGB."""

MAX_FILE_BYTES = 1 << 30
"""Bytes of one file: more than any image of that many pixels needs."""

BYTES_A_PIXEL = 32
"""Memory that decoding takes: the stored pixels, and copies in the modes between them and RGB."""

BESIDE = 128
"""The gray beside an image that is padded: the middle of the range."""

_ORIENTATION = 0x0112
_BINARY = getattr(os, "O_BINARY", 0)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(
    source: Path | bytes,
    *,
    channels: int,
    resolution: int,
    pixel_range: PixelRange | None = None,
    fit: Fit = "squash",
) -> Pixels:
    """Decode one image to uint8 (resolution, resolution, channels).

    Numbers of more than 8 bits are scaled by `pixel_range`, where there is one.

    Raises:
        DataError: The image cannot be read; names the file and the reason.
    """
    try:
        return read_image(source, channels, resolution, pixel_range, fit).pixels
    except (ValueError, OSError) as error:
        name = source.name if isinstance(source, Path) else "image"
        raise DataError(f"an image must be readable, got {name!r}: {error}") from error


def read_image(
    source: Path | bytes,
    channels: int,
    resolution: int,
    pixel_range: PixelRange | None = None,
    fit: Fit = "squash",
) -> Decoded:
    """Like `decode_image`, with the stored size.

    Raises:
        ValueError: The content is not a whole, readable image; the text is the reason.
        OSError: The file itself cannot be opened.
    """
    try:
        with _stream(source) as stream, _open(stream) as image:
            width, height = image.size
            several = _several(image)
            # JPEG can be decoded at a half, a quarter or an eighth; twice the target keeps it sharp.
            image.draft(image.mode, (2 * resolution, 2 * resolution))
            with DECODING.holding(image.width * image.height * BYTES_A_PIXEL):
                numbers = numbers_of(image, lambda: _open(stream))
                if numbers is None:
                    image.load()
                turn = _orientation(image)
                if turn >= 5:
                    width, height = height, width
                flat = image if numbers is None else in_eight_bits(numbers, pixel_range)
                pixels = square(flat, channels, resolution, _TURNS.get(turn), fit)
    except MemoryError:
        raise
    except OSError as error:
        if error.errno is not None:  # of the file; Pillow's own have no number
            raise
        raise ValueError(_reason(error)) from error
    # Broken files make Pillow's decoders raise nearly anything: struct.error, SyntaxError, EOFError...
    except Exception as error:
        raise ValueError(_reason(error)) from error
    return Decoded(pixels, height, width, several)


def see_deep(source: Path | bytes) -> tuple[Seen, bool] | None:
    """The extremes of an image of more than 8 bits, and whether it has fractions by its type; else None.

    Raises like `read_image`.
    """
    try:
        with _stream(source) as stream, _open(stream) as image:
            with DECODING.holding(image.width * image.height * BYTES_A_PIXEL):
                numbers = numbers_of(image, lambda: _open(stream))
                found = None if numbers is None else seen_in(numbers)
            return None if numbers is None or found is None else (found, numbers.dtype.kind == "f")
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(_reason(error)) from error


def header(source: Path | bytes) -> tuple[bool, int, int]:
    """Whether the image is gray, its width and height, from its header alone.

    Palette images count as colour. Raises like `read_image`.
    """
    try:
        with _stream(source) as stream, _open(stream) as image:
            gray = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
            return gray, image.width, image.height
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(_reason(error)) from error


@contextlib.contextmanager
def open_header(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The image with its header read, and no pixels, for the block. Raises what Pillow does, too."""
    with _stream(path) as stream, _open(stream) as image:
        yield image


def from_array(array: npt.NDArray[Any], channels: int, resolution: int, fit: Fit = "squash") -> Decoded:
    """Resize a uint8 array (H, W) or (H, W, 1 | 3 | 4) like a file's image."""
    image = Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    return Decoded(square(image, channels, resolution, fit=fit), array.shape[0], array.shape[1])


def square(
    image: Image.Image,
    channels: int,
    resolution: int,
    turn: Image.Transpose | None = None,
    fit: Fit = "squash",
) -> Pixels:
    """A loaded image of 8 bits as uint8 (resolution, resolution, channels)."""
    flat = _opaque(image).convert("L" if channels == 1 else "RGB")
    width, height = flat.size
    if fit == "crop" and width != height:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        flat = flat.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box)
    elif fit == "pad" and width != height:
        scale = resolution / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        middle = flat.resize(size, Image.Resampling.BICUBIC)
        flat = Image.new(flat.mode, (resolution, resolution), BESIDE if channels == 1 else (BESIDE,) * 3)
        flat.paste(middle, ((resolution - size[0]) // 2, (resolution - size[1]) // 2))
    elif (width, height) != (resolution, resolution):
        flat = flat.resize((resolution, resolution), Image.Resampling.BICUBIC)
    if turn is not None:
        flat = flat.transpose(turn)
    return np.asarray(flat, dtype=np.uint8).reshape(resolution, resolution, channels)


def threads() -> int:
    """Threads that decode (Pillow lets go of the interpreter): the cores this process may use, up to 16."""
    return min(16, usable_cores())


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _stream(source: Path | bytes) -> BinaryIO:
    """Opened for reading, but only what is a file: a pipe would wait for ever, a device never end."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    stream = os.fdopen(os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY), "rb")
    try:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("must be a regular file, got a folder, a pipe or a device")
        if found.st_size > MAX_FILE_BYTES:
            raise ValueError(f"must have at most {MAX_FILE_BYTES:,} bytes, got {found.st_size:,}")
    except BaseException:
        stream.close()
        raise
    return stream


def _open(stream: BinaryIO) -> ImageFile.ImageFile:
    stream.seek(0)
    image = Image.open(without_text(stream), formats=_formats())
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError(f"must have at most {MAX_PIXELS:,} pixels, got {image.width} x {image.height}")
    return image


def _several(image: Image.Image) -> bool:
    """Whether there are frames after the first; previews that cameras put into a photograph do not count."""
    if image.format in ("JPEG", "MPO", "BMP", "PPM"):
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged later frame must not cost a good first one
        return False


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF data must not cost a good image
        return 1


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"must have at most {MAX_PIXELS:,} pixels: {error}"
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    return " ".join(str(error).split()) or type(error).__name__
