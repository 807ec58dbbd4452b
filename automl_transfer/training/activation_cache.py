"""Frozen is free: arrays of activations, computed once per key and shared by all workers of a machine.

    CACHE/activations/KEY/values.npy       float32 or float16 (rows, width), memory-mapped, read-only
                          metadata.json    what the other must look like, with a checksum of every block
    CACHE/activations/KEY.lock             one process builds an entry, others wait

A key is a digest over everything that the values depend on: weights, data, rows, cut, transform,
resolution, dtype, and what their rounding depends on (threads, device, versions). An entry is written
under a temporary name and renamed when it is whole. Its checksums are compared when it is opened; what
is damaged is built again. Where a new entry would exceed the budget, the least recently used ones go; an
entry that goes while a process has it mapped stays readable there. Nothing here is needed to be right:
where a cache cannot serve, the caller computes as if there were none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_transfer.data.cache import default_cache_root
from automl_transfer.errors import ConfigurationError
from automl_transfer.files import Timeout, free_bytes, locked, read_own_json, share_all, shared_folder

BUDGET_VARIABLE = "AUTOML_TRANSFER_CACHE_GB"
SCHEMA = 1
BLOCK = 16 << 20
"""Bytes under one checksum."""
SPARE = 1 << 30
"""Bytes of disk that an entry must leave free."""
PATIENCE = 600.0
"""Seconds that a process waits for another one that builds the entry it needs."""

Values = npt.NDArray[Any]
Fill = Callable[[Values], None]

_log = logging.getLogger(__name__)


class ActivationCache(ABC):
    """Where activations are kept. Safe to use from several processes, not from several threads."""

    @abstractmethod
    def holds(self, size: int) -> bool:
        """Whether an entry of so many bytes may be kept here at all."""

    @abstractmethod
    def get(self, key: Mapping[str, Any], shape: tuple[int, int], dtype: str, fill: Fill) -> Values | None:
        """The array of this key, made by `fill` where there is none yet.

        Args:
            key: Plain values; equal keys stand for equal arrays.
            shape: (rows, width).
            dtype: "float32" or "float16".
            fill: Writes every row of an array of that shape and type; its errors are raised here.

        Returns:
            A read-only array, or None where it cannot be kept: too large, no disk, another process still
            builds it.
        """

    @abstractmethod
    def tell_too_small(self, least: int) -> None:
        """Somebody would have saved time by storing `least` bytes, for which there is no room."""


class MemoryCache(ActivationCache):
    """Keeps the most recent arrays of one process in memory, up to a number of bytes."""

    def __init__(self, limit: int = 256 << 20) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, Values] = OrderedDict()

    def holds(self, size: int) -> bool:
        """As the limit says."""
        return size <= self._limit

    def get(self, key: Mapping[str, Any], shape: tuple[int, int], dtype: str, fill: Fill) -> Values | None:
        """See `ActivationCache.get`."""
        name = digest(key, shape, dtype)
        if name not in self._kept:
            size = _size(shape, dtype)
            if not self.holds(size):
                return None
            while self._kept and size + sum(values.nbytes for values in self._kept.values()) > self._limit:
                self._kept.popitem(last=False)
            values = np.empty(shape, dtype)
            fill(values)
            values.flags.writeable = False
            self._kept[name] = values
        self._kept.move_to_end(name)
        return self._kept[name]

    def tell_too_small(self, least: int) -> None:
        """Nothing: nobody chose this limit."""


class DiskCache(ActivationCache):
    """Keeps arrays in a folder that all processes of a machine share.

    Args:
        root: The folder; made where it is missing. One that cannot be written serves nothing.
        budget: Bytes that all entries together may take.
    """

    def __init__(self, root: Path, budget: int) -> None:
        self._shared = root
        self._root = root / "activations"
        self._budget = budget
        self._warned = False

    def holds(self, size: int) -> bool:
        """Whether budget and disk allow it, older entries not counted."""
        return size <= self._budget and size + SPARE <= free_bytes(self._root) + self.used()

    def used(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def get(self, key: Mapping[str, Any], shape: tuple[int, int], dtype: str, fill: Fill) -> Values | None:
        """See `ActivationCache.get`."""
        name = digest(key, shape, dtype)
        try:
            found = self._open(name, shape, dtype)
            if found is not None:
                return found
            if not self.holds(_size(shape, dtype)):
                return None
            self._shared.mkdir(parents=True, exist_ok=True)
            shared_folder(self._root, self._shared)
            with locked(self._root / f"{name}.lock", timeout=PATIENCE, root=self._shared):
                found = self._open(name, shape, dtype)  # another process may have built it meanwhile
                return found if found is not None else self._build(name, key, shape, dtype, fill)
        except Timeout:
            self._warn(f"another process has been building {name} for {PATIENCE:g} s")
        except OSError as error:
            self._warn(f"{error.strerror or error}")
        return None

    def tell_too_small(self, least: int) -> None:
        """Log it, once."""
        budget = f"{BUDGET_VARIABLE} allows {self._budget / 1e9:.3g} GB"
        free = free_bytes(self._root)
        disk = f"the disk has {free / 1e9:.3g} GB free, of which {SPARE / 1e9:.3g} GB must stay free"
        self._warn(
            f"{least / 1e9:.3g} GB at least would save time, {budget if least > self._budget else disk}"
        )

    def _build(
        self, name: str, key: Mapping[str, Any], shape: tuple[int, int], dtype: str, fill: Fill
    ) -> Values | None:
        self._clear_left_overs(name)
        self._make_room(_size(shape, dtype))
        with tempfile.TemporaryDirectory(dir=self._root, prefix=f"{name}-", suffix=".tmp") as temporary:
            folder = Path(temporary) / "entry"
            folder.mkdir()
            _reserve(folder / "values.npy", shape, dtype)
            values = np.lib.format.open_memmap(folder / "values.npy", mode="r+")
            fill(values)
            values.flush()
            metadata = {
                "schema": SCHEMA,
                "key": dict(key),
                "shape": list(shape),
                "dtype": dtype,
                "checksums": _checksums(values),
            }
            (folder / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
            del values
            share_all(folder, self._shared)
            target = self._root / name
            shutil.rmtree(target, ignore_errors=True)
            folder.replace(target)
        return self._open(name, shape, dtype)

    def _open(self, name: str, shape: tuple[int, int], dtype: str) -> Values | None:
        """The entry, if it is there and whole."""
        folder = self._root / name
        try:
            metadata = read_own_json(folder / "metadata.json")
            values: Values = np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False)
            whole = (
                metadata["schema"] == SCHEMA
                and values.shape == shape
                and values.dtype == np.dtype(dtype)
                and metadata["checksums"] == _checksums(values)
            )
            if not whole:
                return None
            with suppress(OSError):  # a folder that can only be read serves what is there
                os.utime(folder / "metadata.json")  # used just now
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None
        return values

    def _entries(self) -> list[tuple[float, int, Path]]:
        """When each was last used, its bytes and its folder, oldest first."""
        found = []
        try:
            for folder in self._root.iterdir():
                if folder.is_dir():
                    stated = folder / "metadata.json"
                    used = stated.stat().st_mtime if stated.exists() else folder.stat().st_mtime
                    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                    found.append((used, size, folder))
        except OSError:
            pass  # gone meanwhile, or no folder yet
        return sorted(found, key=lambda entry: entry[:2])

    def _clear_left_overs(self, name: str) -> None:
        """Delete what killed builders left behind, whose locks are free; the caller holds `name`'s."""
        for folder in self._root.glob("*.tmp"):
            other = folder.name.partition("-")[0]
            if other == name:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            with suppress(Timeout), locked(self._root / f"{other}.lock", timeout=0, root=self._shared):
                shutil.rmtree(folder, ignore_errors=True)

    def _make_room(self, needed: int) -> None:
        with locked(self._root / "room.lock", timeout=PATIENCE, root=self._shared):
            entries = [entry for entry in self._entries() if entry[2].suffix != ".tmp"]
            used = sum(size for _, size, _ in entries)
            for _, size, folder in entries:
                if used + needed <= self._budget and free_bytes(self._root) >= needed + SPARE:
                    return
                shutil.rmtree(folder, ignore_errors=True)
                used -= size

    def _warn(self, reason: str) -> None:
        if not self._warned:
            _log.warning(
                "the activation cache in %s cannot be used (%s): what is frozen is computed every time anew",
                self._root,
                reason,
            )
            self._warned = True


def disk_cache(cache_root: Path | None = None) -> DiskCache:
    """The cache that all processes of this user share; `cache_root` as for decoded images."""
    return DiskCache(cache_root or default_cache_root(), default_budget())


def default_budget() -> int:
    """Bytes of disk for activations: as AUTOML_TRANSFER_CACHE_GB says, else 20 GB.

    Raises:
        ConfigurationError: The variable is no number >= 0.
    """
    stated = os.environ.get(BUDGET_VARIABLE, "20")
    try:
        gigabytes = float(stated)
    except ValueError:
        gigabytes = -1.0
    if not 0.0 <= gigabytes < float("inf"):
        raise ConfigurationError(f"{BUDGET_VARIABLE} must be a number of gigabytes >= 0, got {stated!r}")
    return int(gigabytes * 1e9)


def digest(key: Mapping[str, Any], shape: tuple[int, int], dtype: str) -> str:
    """The name of an entry."""
    text = json.dumps([SCHEMA, dict(key), list(shape), dtype], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _size(shape: tuple[int, int], dtype: str) -> int:
    return shape[0] * shape[1] * np.dtype(dtype).itemsize


def _reserve(path: Path, shape: tuple[int, int], dtype: str) -> None:
    """An array file whose blocks are allocated: a full disk is an error here, not a crash later."""
    values = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    del values
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size) if hasattr(os, "posix_fallocate") else None


def _checksums(values: Values) -> list[int]:
    flat = values.reshape(-1).view(np.uint8)
    return [zlib.crc32(flat[start : start + BLOCK].data) for start in range(0, len(flat), BLOCK)]
