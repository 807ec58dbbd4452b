"""What a person names to be labelled: files, folders, arrays; and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_transfer.data.scaling import scaled_alike
from automl_transfer.data.walk import Left, suffix_of, walk
from automl_transfer.domain.account import Reason
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.errors import DataError
from automl_transfer.files import kind_at

Inputs = str | PathLike[str] | Iterable[str | PathLike[str]] | npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]
Named = tuple[str, Path | npt.NDArray[Any] | DataError]
"""A name with where its pixels are, or with the reason why there are none."""


_FAILED = (Reason.UNLISTED, Reason.UNREADABLE)


def named_files(
    inputs: str | PathLike[str] | Iterable[str | PathLike[str]], left_out: Counter[str]
) -> Iterator[Named]:
    """The files that are meant, one by one: a folder gives all images below it.

    What is wrong with one of several stands in its place and does not stop the others.

    Args:
        inputs: A file, a folder, or several of both.
        left_out: Counts here, by kind, the files in folders that are no images.

    Raises:
        DataError: The one folder that was given holds no images, or the one path is out of reach.
    """
    if isinstance(inputs, str | PathLike):
        return iter(_files(inputs, left_out))
    if not isinstance(inputs, Iterable):
        raise _no_input(inputs)
    return _of_several(inputs, left_out)


def _of_several(inputs: Iterable[str | PathLike[str]], left_out: Counter[str]) -> Iterator[Named]:
    for each in inputs:
        if not isinstance(each, str | PathLike):
            raise _no_input(each)
        try:
            yield from _files(each, left_out)
        except DataError as error:
            yield str(each), error
        except (OSError, ValueError) as error:
            yield str(each), DataError(reason(error))


def _no_input(given: object) -> DataError:
    return DataError(
        "images must be named by their paths, or be one array (N, H, W) or (N, H, W, 1 | 3 | 4), got "
        f"{type(given).__name__}: pass numpy.stack([numpy.asarray(image), ...])"
    )


def reason(error: BaseException) -> str:
    """Why something could not be read, in words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def checked_array(images: npt.NDArray[Any], pixels: PixelRange) -> npt.NDArray[Any]:
    """The images as (N, H, W, C), not yet scaled.

    Args:
        images: Of numbers of any type.
        pixels: The range that the model was trained with.

    Raises:
        DataError: The array is not of images, or plainly of another range.
    """
    if images.ndim == 3 and images.shape[2] in (3, 4):
        raise DataError(
            f"images must be an array (N, H, W) or (N, H, W, 1 | 3 | 4), got {images.shape}, which looks "
            "like one image in colour: pass image[None]"
        )
    stacked = images[..., None] if images.ndim == 3 else images
    if stacked.dtype.kind not in "buif" or stacked.ndim != 4 or stacked.shape[3] not in (1, 3, 4):
        raise DataError(
            "images must be an array of numbers (N, H, W) or (N, H, W, 1 | 3 | 4), "
            f"got {images.dtype} {images.shape}"
        )
    return scaled_alike(stacked, pixels, "images")


def _files(given: str | PathLike[str], left_out: Counter[str]) -> list[Named]:
    path = Path(given)
    if kind_at(path, "an image file or folder", DataError) != "folder":
        return [(str(given), path)]
    found = walk(path)
    failed = [left for left in found.left if left.reason in _FAILED]
    others = Counter(_kind(left) for left in found.left if left.reason not in _FAILED)
    left_out.update(others)
    if not found.images and not failed:
        but = f", but {words(others)}" if others else ""
        raise DataError(f"a folder must hold images, got {path} with none{but}: name another folder or files")
    named: list[Named] = [(str(file), file) for file in found.images]
    return named + [(str(left.path), DataError(f"{left.reason}: {left.detail}")) for left in failed]


def words(left_out: Mapping[str, int]) -> str:
    """What was left out, the most frequent first.

    >>> words({".heic": 12, "no suffix": 3})
    '12 .heic, 3 no suffix'
    """
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{count} {kind}" for kind, count in ordered[:8])
    return shown + (f" and {len(ordered) - 8} other kinds" if len(ordered) > 8 else "")


def _kind(left: Left) -> str:
    """How a file that is no image is counted: by its suffix, or by a word."""
    if left.reason is Reason.HOUSEKEEPING:
        return "hidden or of the system"
    if left.reason is Reason.SECOND_NAME:
        return "second name of a folder"
    return suffix_of(left.path.name) or "no suffix"
