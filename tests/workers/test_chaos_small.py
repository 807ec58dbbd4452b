"""A small version of `make chaos`: workers, reapers and the database are killed, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import forge
import pytest

CHAOS = Path(__file__).parents[1] / "chaos" / "chaos.py"
FAULTS = ["kill", "kill", "reap", "beat", "tell", "term", "outage"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the strategies come to when nothing happens, which is the same on either database."""
    return tmp_path_factory.mktemp("undisturbed") / "undisturbed.json"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_is_lost(tmp_path: Path, database: str, undisturbed: Path) -> None:
    done = subprocess.run(
        [forge.command(), str(CHAOS), "--database", database, "--trials", "12", "--workers", "3",
         "--epochs", "200", "--long-every", "2", "--grace", "2", "--undisturbed", str(undisturbed),
         "--progress", str(tmp_path / "progress.txt"), "--faults", *FAULTS],
        capture_output=True, text=True, env={**os.environ, "FORGE": forge.command()},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["LOST 0 DUPLICATE 0 STUCK 0 UNEXPLAINED 0"], (
        done.stdout + done.stderr
    )
    assert "not done []" in done.stdout
    assert "the password was nowhere" in done.stdout
    assert "Zq7Tr0ub4dor" not in done.stdout + done.stderr
    assert done.returncode == 0
