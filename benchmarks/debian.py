"""Pictures from Debian's packages: none is shipped with the project. Needs apt and dpkg."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent / "data"
"""A package that was laid here (`PACKAGE_*.deb`) is not downloaded."""


@contextmanager
def unpacked(package: str) -> Iterator[Path]:
    """A package's files, as they would lie below `/`, while the block runs."""
    with tempfile.TemporaryDirectory() as temporary:
        here = sorted(HERE.glob(f"{package}_*.deb"))
        if not here:
            subprocess.run(["apt-get", "download", package], cwd=temporary, check=True, capture_output=True)
            here = sorted(Path(temporary).glob(f"{package}_*.deb"))
        subprocess.run(["dpkg", "-x", here[-1], "unpacked"], cwd=temporary, check=True)
        yield Path(temporary, "unpacked")
