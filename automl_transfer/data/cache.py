"""The image cache: every image decoded once, as one memory-mapped uint8 array on disk.

    CACHE/images/SIGNATURE/native.json         what the images are as they lie
    CACHE/images/SIGNATURE/64x3/images.npy     uint8 (N, 64, 64, 3), readable images only
                               rows.npz        digest, sums and stored size of each image
                               metadata.json   what the other two must look like; the unreadable images

Split, seed and few-image options do not touch the cache. An entry is written under a temporary name and
renamed when it is whole; one process builds it, others wait. An entry that is damaged is built again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import BadImage, Inventory, Native, Pixels, Rows
from automl_transfer.data.decode_all import SCHEMA, Progress, decode_all, digest_of, write_json
from automl_transfer.data.npy import HEADER_BYTES
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.errors import OutputError
from automl_transfer.files import Timeout, free_bytes, locked, read_own_json, share_all, shared_folder
from automl_transfer.machine import cache_folder

DECODER = 1
"""Counts changes of decoding that change pixels."""

CHECK_WHOLE = 64 << 20
CHECK_ROWS = 256
"""Entries up to this size (bytes) are checked whole when opened, larger ones at this many rows."""


@dataclass(frozen=True)
class CachedImages:
    """What the cache holds of one inventory.

    Attributes:
        images: uint8 (N, H, W, C), memory-mapped, read-only; readable images only.
        rows: Their rows in the inventory, int64 (N,).
        digests: uint8 (N, 16), equal for equal pixels.
        moments: int64 (N, C, 2), sums of pixels and of their squares.
        sizes: int64 (N, 2), stored height and width in pixels.
        frames: bool (N,), whether the file holds more images than the one that is used.
        bad: The unreadable images.
        pixel_range: By which they were scaled; None for files of 8 bits.
    """

    images: Pixels
    rows: Rows
    digests: Pixels
    moments: Rows
    sizes: Rows
    frames: npt.NDArray[np.bool_]
    bad: tuple[BadImage, ...]
    pixel_range: PixelRange | None = None

    @property
    def blank(self) -> npt.NDArray[np.bool_]:
        """Whether each image is of one colour only, (N,)."""
        size = self.images.shape[1] * self.images.shape[2]
        sums, squares = self.moments[:, :, 0], self.moments[:, :, 1]
        found: npt.NDArray[np.bool_] = (size * squares == sums**2).all(axis=1)
        return found


def default_cache_root() -> Path:
    """The user's cache folder."""
    return cache_folder()


def open_images(
    inventory: Inventory,
    *,
    channels: int | None,
    resolution: int | None,
    cache_root: Path,
    progress: Progress | None = None,
) -> CachedImages:
    """Map the decoded images of an inventory, decoding them first where the cache has none.

    Safe to call from several processes at once.

    Args:
        inventory: What to decode.
        channels: 1 or 3; None keeps gray images gray.
        resolution: Pixels; None takes the inventory's own.
        cache_root: Folder of the cache.
        progress: Called with what is done, how much of it, and of how much.

    Raises:
        OutputError: The cache folder cannot be written, or the disk has too little space.
        DataError: No image can be read.
    """
    name = hashlib.sha256(f"{SCHEMA} {DECODER} {inventory.signature}".encode()).hexdigest()[:24]
    folder = cache_root / "images" / name
    report = progress or (lambda what, done, total: None)
    native = Native(channels, resolution) if channels and resolution else _read_native(folder)
    if native is not None:
        entry = folder / f"{resolution or native.resolution}x{channels or native.channels}"
        found = _read(entry, inventory)
        if found is not None:
            return found
    with _writing(folder):
        cache_root.mkdir(parents=True, exist_ok=True)
        shared_folder(folder, cache_root)
        with _alone(folder, cache_root, report, len(inventory.keys)):
            return _build(inventory, folder, cache_root, channels, resolution, report)


def _build(
    inventory: Inventory,
    folder: Path,
    root: Path,
    channels: int | None,
    resolution: int | None,
    report: Progress,
) -> CachedImages:
    for left_over in folder.glob("*.tmp"):  # of builders that were killed: we are alone here
        shutil.rmtree(left_over, ignore_errors=True)
    _require_space(folder, inventory.scratch_bytes)
    with tempfile.TemporaryDirectory(dir=folder, suffix=".tmp") as temporary:
        scratch = Path(temporary)
        inventory.prepare(scratch)
        if channels is None or resolution is None:
            native = _read_native(folder)
            if native is None:
                native = inventory.native()
                write_json(
                    folder / "native.json", {"channels": native.channels, "resolution": native.resolution}
                )
            channels, resolution = channels or native.channels, resolution or native.resolution
        entry = folder / f"{resolution}x{channels}"
        found = _read(entry, inventory)  # another process may have built it while this one waited
        if found is not None:
            return found
        _require_space(folder, HEADER_BYTES + len(inventory.keys) * (resolution**2 * channels + 1024))
        whole = scratch / "entry"
        whole.mkdir()
        decode_all(inventory, whole, channels, resolution, report)
        share_all(whole, root)
        shutil.rmtree(entry, ignore_errors=True)
        whole.replace(entry)
    found = _read(entry, inventory)
    if found is None:
        raise OutputError(
            f"the image cache must keep what is written to it, got other bytes back in {str(entry)!r}"
        )
    return found


def _read(entry: Path, inventory: Inventory) -> CachedImages | None:
    """The entry if it is there, whole, and still what decoding would give; else None."""
    try:
        metadata = read_own_json(entry / "metadata.json")
        packed = entry / "rows.npz"
        shape = tuple(metadata["shape"])
        bad = {int(item["row"]): BadImage(item["key"], item["reason"]) for item in metadata["bad"]}
        scaled = metadata["pixel_range"]
        pixel_range = None if scaled is None else PixelRange.model_validate(scaled)
        not_opened = [int(item["row"]) for item in metadata["bad"] if item["io"]]
        if metadata["schema"] != SCHEMA or metadata["listed"] != len(inventory.keys):
            return None
        if (entry / "images.npy").stat().st_size != HEADER_BYTES + int(np.prod(shape, dtype=np.int64)):
            return None
        if hashlib.sha256(packed.read_bytes()).hexdigest() != metadata["rows_sha256"]:
            return None
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        with np.load(packed, allow_pickle=False) as table:
            digests, moments, sizes = table["digests"], table["moments"], table["sizes"]
            frames = table["frames"]
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    if images.shape != shape or images.dtype != np.uint8 or len(digests) != shape[0]:
        return None
    count = shape[0] if images.nbytes <= CHECK_WHOLE else CHECK_ROWS
    for row in np.unique(np.linspace(0, shape[0] - 1, count).astype(np.int64)):
        if digest_of(images[row]) != digests[row].tobytes():
            return None
    if any(_opens(inventory, row) for row in not_opened):
        return None
    rows = np.array([row for row in range(len(inventory.keys)) if row not in bad], np.int64)
    return CachedImages(images, rows, digests, moments, sizes, frames, tuple(bad.values()), pixel_range)


def _opens(inventory: Inventory, row: int) -> bool:
    try:
        inventory.decode(row, 1, 32)
    except OSError:
        return False
    except ValueError:
        return True
    return True


def _read_native(folder: Path) -> Native | None:
    try:
        values = read_own_json(folder / "native.json")
        native = Native(int(values["channels"]), int(values["resolution"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return native if native.channels in (1, 3) and native.resolution > 0 else None


@contextlib.contextmanager
def _alone(folder: Path, root: Path, report: Progress, total: int) -> Iterator[None]:
    lock = folder / "build.lock"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(lock, timeout=0, root=root))
        except Timeout:
            report("waiting for another process that decodes these images", 0, total)
            held.enter_context(locked(lock, root=root))
        yield


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say clearly what is wrong with the cache folder where writing fails."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the image cache needs disk space, got a full disk at {str(folder)!r}"
            ) from error
        raise OutputError(
            f"the image cache folder must be writable, got {str(folder)!r} ({error.strerror or error}): "
            "choose another one with --cache, or let its owner open it to you (chmod)"
        ) from error


def _require_space(folder: Path, needed: int) -> None:
    if needed > (free := free_bytes(folder)):
        raise OutputError(
            f"the image cache needs {needed:,} bytes of disk, got {free:,} bytes free at {str(folder)!r}: "
            "free some space, choose another cache folder or a lower resolution"
        )
