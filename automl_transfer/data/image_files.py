"""An inventory of image files: what folders and tables of labels have in common."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from automl_transfer.data.base import Decoded, Inventory, Native, fitting_resolution
from automl_transfer.data.decode import header, read_image, threads


@dataclass
class FileInventory(Inventory):
    """Files, decoded when asked."""

    files: Sequence[Path] = field(default_factory=tuple)

    def native(self) -> Native:
        """Gray if every image is; the resolution near the median side of all images."""
        with ThreadPoolExecutor(threads()) as pool:
            seen = [found for found in pool.map(_header, self.files, chunksize=64) if found is not None]
        sides = [side for _, width, height in seen for side in (width, height)]
        gray = bool(seen) and all(is_gray for is_gray, _, _ in seen)
        return Native(1 if gray else 3, fitting_resolution(float(np.median(sides)) if sides else 0.0))

    def decode(self, row: int, channels: int, resolution: int) -> Decoded:
        """Read and decode file `row`."""
        return read_image(self.files[row], channels, resolution)


def key_of(path: Path, root: Path) -> str:
    """A file's name relative to `root`: the same everywhere, whichever spelling of "ü" a disk keeps."""
    name = path.relative_to(root).as_posix()
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def signature_of(kind: str, root: Path, files: Sequence[tuple[str, Path]]) -> str:
    """Changes whenever a file may have changed: from sizes and times, without reading any."""
    digest = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape"))
    for key, path in files:
        try:
            stat = path.stat()
            state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"\0{key}\0{state}".encode())
    return f"{kind} {digest.hexdigest()}"


def _header(path: Path) -> tuple[bool, int, int] | None:
    try:
        return header(path)
    except (ValueError, OSError):
        return None
