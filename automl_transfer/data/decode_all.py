"""Decoding a whole inventory into one `.npy` file, in parallel and in little memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_transfer.aborting import check_abort
from automl_transfer.data.base import Decoded, Inventory, NoTaskError, Pixels
from automl_transfer.data.decode import threads
from automl_transfer.data.npy import npy_header
from automl_transfer.files import whole_file

SCHEMA = "automl-transfer/images/2"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


def decode_all(inventory: Inventory, entry: Path, channels: int, resolution: int, report: Progress) -> None:
    """Decode in parallel, append in order: never more than a few images in memory.

    Raises:
        DataError: No image can be read.
        Aborted: That was asked for; asked before every image.
    """
    total = len(inventory.keys)
    # Arrays, not lists: objects of every image would take as much memory as small images do.
    digests = np.zeros((total, 16), np.uint8)
    moments = np.zeros((total, channels, 2), np.int64)
    sizes = np.zeros((total, 2), np.int64)
    frames = np.zeros(total, np.bool_)
    count = 0
    bad: list[dict[str, Any]] = []
    step = max(1, total // 200)
    with (entry / "images.npy").open("w+b") as stream:
        stream.write(npy_header((total, resolution, resolution, channels)))
        for row, result in enumerate(_decoded(inventory, channels, resolution)):
            check_abort()
            if isinstance(result, _Unreadable):
                bad.append({"row": row, "key": inventory.keys[row], "reason": result.reason, "io": result.io})
            else:
                image, digest, sums = result
                stream.write(image.pixels.data)
                digests[count] = np.frombuffer(digest, np.uint8)
                moments[count] = sums
                sizes[count] = image.height, image.width
                frames[count] = image.frames
                count += 1
            if (row + 1) % step == 0 or row + 1 == total:
                report("decoding images", row + 1, total)
        if count == 0:
            reasons = "; ".join(f"{item['key']}: {item['reason']}" for item in bad[:5])
            raise NoTaskError(f"a dataset must have readable images, got {total} unreadable ones: {reasons}")
        stream.seek(0)
        stream.write(npy_header((count, resolution, resolution, channels)))
        _flush(stream)
    with (entry / "rows.npz").open("wb") as stream:
        np.savez(
            stream,
            digests=digests[:count],
            moments=moments[:count],
            sizes=sizes[:count],
            frames=frames[:count],
        )
        _flush(stream)
    write_json(
        entry / "metadata.json",
        {
            "schema": SCHEMA,
            "count": count,
            "listed": total,
            "shape": [count, resolution, resolution, channels],
            "rows_sha256": hashlib.sha256((entry / "rows.npz").read_bytes()).hexdigest(),
            "bad": bad,
            "pixel_range": inventory.pixel_range and inventory.pixel_range.model_dump(),
        },
    )


@dataclass(frozen=True)
class _Unreadable:
    """Why a row has no pixels; `io` where the file could not be opened, which may pass."""

    reason: str
    io: bool


Result = tuple[Decoded, bytes, npt.NDArray[np.int64]] | _Unreadable


def _decoded(inventory: Inventory, channels: int, resolution: int) -> Iterator[Result]:
    """Each row's image, digest and sums, or the reason why it cannot be read; in order."""

    def decode(row: int) -> Result:
        try:
            image = inventory.decode(row, channels, resolution)
        except OSError as error:
            return _Unreadable(error.strerror or str(error), io=True)
        except ValueError as error:
            return _Unreadable(str(error), io=False)
        flat = image.pixels.reshape(-1, channels)
        squares = np.einsum("pc,pc->c", flat, flat, dtype=np.int64, casting="safe")
        sums = np.stack([flat.sum(axis=0, dtype=np.int64), squares], axis=1)
        return image, digest_of(image.pixels), sums

    total = len(inventory.keys)
    if not inventory.threaded:
        yield from map(decode, range(total))
        return
    window = 4 * threads()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads()) as pool:
        try:
            for row in range(total):
                pending.append(pool.submit(decode, row))
                if len(pending) >= window:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def digest_of(pixels: Pixels) -> bytes:
    """16 bytes that are equal for equal pixels."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).digest()[:16]


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON under a temporary name, then rename."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _flush(stream: Any) -> None:
    """Down to the disk: a rename must never come before the bytes."""
    stream.flush()
    os.fsync(stream.fileno())
