"""Hostile weights and arrays: none runs code, none is used, none ends in anything but words, all in little memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MOST_MEMORY = 150
"""MB at the peak of a process that tries twelve of them one after another."""


def test_every_hostile_file_is_refused_in_bounded_memory_and_runs_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE / "hostile.py"), "--together", "12"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=environment,
    )
    last = done.stdout.splitlines()[-1] if done.stdout else done.stderr
    found = re.fullmatch(r"(\d+) files tried, 0 executed, 0 crashes, 0 used, peak memory (\d+) MB", last)
    assert found, done.stdout + done.stderr
    assert int(found[1]) >= 110
    assert int(found[2]) <= MOST_MEMORY
    assert "written elsewhere: none" in done.stdout
