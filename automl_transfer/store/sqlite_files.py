"""How a SQLite file is read by someone who may not write it, nor beside it.

A database in WAL mode keeps what was written last in a second file, and an index of it in a third one, which
readers must write, too. Where nobody has the database open there is neither, and the file stands for itself.
Else this process reads a private copy of both, in which SQLite makes its index: also of what a killed
program left behind.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from pathlib import Path

WAL_HEADER = 32
"""Bytes; they hold two numbers that change whenever the WAL begins anew (sqlite.org/fileformat2.html)."""
_TRIES = 50


def may_write(path: Path) -> bool:
    """Whether this process may change a SQLite file, and its folder, where the WAL lies beside it."""
    effective = os.access in os.supports_effective_ids
    return all(os.access(place, os.W_OK, effective_ids=effective) for place in (path, path.parent))


class UnwritableFile:
    """A SQLite file that others may write while this process reads it. Safe from many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal = path.with_name(f"{path.name}-wal")
        self._lock = threading.Lock()
        self._copied: tuple[object, ...] | None = None
        self._copy = path
        self._folder: Path | None = None

    def uri(self) -> str:
        """Where it can be read as it is now, as `sqlite3.connect` takes it."""
        if not _size(self._wal):
            return f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
        with self._lock:
            state = (_state(self._path), _state(self._wal))
            if state != self._copied:
                self._copy = self._copy_both()
                self._copied = state
            return f"{self._copy.as_uri()}?mode=rw"

    def _copy_both(self) -> Path:
        """Copy file and WAL so that they belong together.

        A WAL grows until it begins anew, so it has every page that a checkpoint may change in the file
        meanwhile: both belong together if it did not begin anew in between.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="automl-transfer-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for _ in range(_TRIES):
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            copy = folder / "copy.db"
            before = _head(self._wal)
            shutil.copyfile(self._path, copy)
            if before:
                try:
                    shutil.copyfile(self._wal, folder / "copy.db-wal")
                except FileNotFoundError:
                    before = b"gone"
            if _head(self._wal) == before:
                for old in self._folder.iterdir():
                    if old != folder:
                        shutil.rmtree(old, ignore_errors=True)
                return copy
            shutil.rmtree(folder, ignore_errors=True)
        raise sqlite3.OperationalError("database is locked: it changes faster than it can be copied")


def _head(wal: Path) -> bytes:
    try:
        with wal.open("rb") as stream:
            return stream.read(WAL_HEADER)
    except FileNotFoundError:
        return b""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
