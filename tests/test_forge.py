"""A command from the forge is a process like one that was started: what it is told, says and ends with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import forge
import psutil
import waiting


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


WAITS = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
pathlib.Path(sys.argv[1]).write_text(str(__import__("os").getpid()))
signal.pause()
"""


def test_what_asks_for_a_forged_process_stands_for_it(tmp_path: Path) -> None:
    """Signals are handed on, and whoever kills it, even by SIGKILL, kills the process."""
    script, told = tmp_path / "waits.py", tmp_path / "told"
    script.write_text(WAITS)

    def waits() -> tuple[subprocess.Popen[bytes], psutil.Process]:
        told.unlink(missing_ok=True)
        asking = subprocess.Popen([forge.command(), str(script), str(told)])
        waiting.until(lambda: told.exists() and told.read_text() != "")
        return asking, psutil.Process(int(told.read_text()))

    asking, process = waits()
    asking.send_signal(signal.SIGTERM)
    assert asking.wait(60) == 7
    asking, process = waits()
    asking.kill()
    assert asking.wait(60) == -signal.SIGKILL
    process.wait(60)
    asking, process = waits()
    process.send_signal(signal.SIGUSR2)  # of which it dies
    assert asking.wait(60) == -signal.SIGUSR2


def test_what_a_forged_process_launches_is_forged_and_other_lines_are_not(tmp_path: Path) -> None:
    script = tmp_path / "launches.py"
    script.write_text(
        "import subprocess, sys\n"
        "for line in (['-P', '-m', 'automl_transfer', '--version'], ['-c', 'import sys; print(sys.executable)']):\n"
        "    subprocess.run([sys.executable, *line], check=True)\n"
        "print(sys.executable)\n"
    )
    said = subprocess.run([forge.command(), str(script)], capture_output=True, text=True, check=True).stdout
    version, real, here = said.splitlines()
    assert version.startswith("automl-transfer ")
    assert real == sys.executable
    assert here == str(Path(forge.command()).with_name("python"))
