"""A command from the forge is a process like one that was started: what it is told, says and ends with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import forge


def test_a_forged_command_says_and_ends_as_one_that_starts(tmp_path: Path) -> None:
    environment = {**os.environ, "AUTOML_TRANSFER_STORAGE": "sqlite:///no/such.db", "OMP_NUM_THREADS": "1"}
    (tmp_path / "猫").mkdir()
    for arguments, given in (
        (["report", "猫"], ""),
        (["predict", "none", "-"], "a.png\n"),
        (["--version"], ""),
    ):
        afresh, forged = (
            subprocess.run(
                [*program, *arguments], input=given, cwd=tmp_path / "猫", env=environment, capture_output=True, text=True
            )
            for program in ((sys.executable, "-m", "automl_transfer"), (forge.command(),))
        )  # fmt: skip
        assert (forged.returncode, forged.stdout, forged.stderr) == (
            afresh.returncode, afresh.stdout, afresh.stderr
        )  # fmt: skip
    assert afresh.returncode == 0


def test_a_forged_process_is_one_of_its_own(tmp_path: Path) -> None:
    """Those of `tests/workers` are told to end, and killed."""
    environment = {**os.environ, "AUTOML_TRANSFER_STORAGE": "sqlite:///no/such.db"}
    for arguments, code in ((["--version"], 0), (["report", "none"], 2)):
        with (tmp_path / "log").open("wb") as stream:
            process = forge.start(arguments, environment, stream)
        assert process.pid != os.getpid()
        assert process.wait(60) == process.poll() == code
        assert (tmp_path / "log").read_text(encoding="utf-8").startswith(("automl-transfer ", "error: "))
        process.kill()  # one that has ended stays as it is
        assert process.returncode == code
