"""Looks for a password wherever a run leaves something: files, rows of the store, command lines."""

from __future__ import annotations

import zipfile
from pathlib import Path

import psutil
import sqlalchemy as sa


class Watch:
    """Looks for a secret; `found` names where it was.

    An environment variable is where a worker gets it from, and only its own user can read that.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self.found: set[str] = set()
        self.files = self.rows = self.lines = 0

    def command_lines(self) -> None:
        """Of every process of this machine, as `ps` shows them to anybody."""
        for process in psutil.process_iter(["cmdline", "name"]):
            self.lines += 1
            if self._secret in " ".join(process.info["cmdline"] or []) + (process.info["name"] or ""):
                self.found.add(f"the command line of {process.info['name']}")

    def folder(self, place: Path) -> None:
        """Every file below, its name included, and what archives hold."""
        secret = self._secret.encode()
        for path in place.rglob("*"):
            if self._secret in path.name:
                self.found.add(f"the name of {path}")
            if not path.is_file() or path.is_symlink():
                continue
            self.files += 1
            parts = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    parts += [archive.read(name) for name in archive.namelist()]
            if any(secret in part for part in parts):
                self.found.add(str(path))

    def database(self, engine: sa.Engine) -> None:
        """Every row of every table."""
        tables = sa.MetaData()
        tables.reflect(engine)
        with engine.connect() as connection:
            for table in tables.sorted_tables:
                for row in connection.execute(sa.select(table)):
                    self.rows += 1
                    if self._secret in repr(tuple(row)):
                        self.found.add(f"the table {table.name}")

    def __str__(self) -> str:
        told = ", ".join(sorted(self.found)) or "nowhere"
        return (
            f"the password was {told}: looked into {self.files} files, {self.rows} rows and {self.lines} "
            "command lines"
        )
