"""Runs code as an ordinary user whom no list of users knows, as containers have them.

From root that user may read everything (the interpreter may lie where only root looks), and write nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USER = 54321
COMMAND = "import sys; from automl_transfer.cli.main import main; main(sys.argv[1:])"
"""Code that runs a command line of ours."""

as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can become a user without a name",
)


def as_nobody(
    code: str, *arguments: object, home: str | None = None, user: int = USER, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python code to its end as that user, or as another one by number."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    homes = {} if home is None else {"HOME": home}
    caps = "+dac_read_search"
    become = [
        "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", f"--inh-caps={caps}",
        f"--ambient-caps={caps}",
    ]  # fmt: skip
    return subprocess.run(
        [*become, sys.executable, "-B", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**kept, **homes, "PYTHONPATH": str(ROOT), **environment},
        cwd="/",
        timeout=200,
    )


def open_to_all(folder: Path) -> None:
    """Let every user write in one of pytest's folders, and pass those above it."""
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    folder.chmod(0o1777)
