"""What image files say beside their pixels: format, compression, and metadata."""

from __future__ import annotations

import contextlib
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_transfer.aborting import check_abort
from automl_transfer.data.decode import open_header, threads

Array = npt.NDArray[np.float64]

_TAGS = (271, 272, 305, 306, 274, 282, 296, 36867, 33434, 34855)
"""EXIF: make, model, software, time, orientation, resolution, unit; time, exposure and ISO of the camera."""
_INFO = ("dpi", "icc_profile", "exif", "progressive", "comment", "software", "Software", "gamma", "interlace")


def facts_of(files: Sequence[Path]) -> tuple[Array, Array]:
    """float64 (n, F) about format and compression, and (n, G) about metadata; texts become numbers."""
    with ThreadPoolExecutor(threads()) as pool:
        found = []
        for each in pool.map(_facts, files, chunksize=64):
            check_abort()
            found.append(each)
    return _numbers([each[0] for each in found]), _numbers([each[1] for each in found])


def _facts(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    formats: dict[str, Any] = {"suffix": path.suffix.lower()}
    metadata: dict[str, Any] = {}
    # Strangers' files: whatever cannot be read is not there.
    with contextlib.suppress(Exception), open_header(path) as image:
        formats |= {"format": image.format or "", "mode": image.mode}
        formats["bits"] = 8.0 * path.stat().st_size / max(1, image.width * image.height)
        tables = getattr(image, "quantization", None) or {}
        formats["quality"] = float(sum(map(sum, tables.values()))) if tables else 0.0
        for name in _INFO:
            value = image.info.get(name)
            metadata[name] = "" if value is None else repr(value)[:200]
        exif = image.getexif()
        metadata["tags"] = float(len(exif))
        for tag in _TAGS:
            value = exif.get(tag)
            metadata[str(tag)] = "" if value is None else repr(value)[:200]
    return formats, metadata


def _numbers(facts: Sequence[dict[str, Any]]) -> Array:
    """A column a fact; texts by how often they occur, and a few bits that tell equal counts apart."""
    names = sorted({name for each in facts for name in each})
    columns = []
    for name in names:
        values = [each.get(name, "") for each in facts]
        if all(isinstance(value, float) for value in values):
            columns.append(np.array(values, np.float64))
            continue
        texts = [str(value) for value in values]
        counts = Counter(texts)  # a text that no other file has tells nothing but itself
        codes = [zlib.crc32(text.encode()) % 1000 if counts[text] > 1 else -1 for text in texts]
        columns.append(np.array(codes, np.float64))
    return np.column_stack(columns) if columns else np.zeros((len(facts), 0))
