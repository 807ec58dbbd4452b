"""Machines and terminals as they are (D10, D12, D18, D19, D21, D22, E13): real processes, a few commands each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from case_runner import images, typed
from conftest import CHEAP, Finished

ROOT = Path(__file__).resolve().parents[2]
SEVERAL = """
import json, sys
from automl_transfer.cli.main import main
for line in json.loads(sys.argv[1]):
    try:
        main(line)
        code = 0
    except SystemExit as left:
        code = left.code
    print(" ".join(line[:2]).encode("ascii", "backslashreplace").decode(), code, file=sys.stderr)
"""


def process(
    *lines: str, cwd: Path, without: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Several command lines in one process, which says each one's exit code on stderr."""
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [sys.executable, "-c", SEVERAL, json.dumps([line.split() for line in lines])],
        cwd=cwd, capture_output=True, timeout=200,
        env={**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def codes(done: subprocess.CompletedProcess[bytes], *expected: str) -> str:
    said = done.stderr.decode()
    assert "Traceback" not in said, said
    assert [line for line in said.splitlines() if line[-2:] in (" 0", " 1", " 2")] == [*expected], said
    return said


@pytest.mark.parametrize("how", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_d10_a_terminal_that_is_not_utf8(how: dict[str, str], finished: Finished, tmp_path: Path) -> None:
    """D10: a class or study named 猫 gave a traceback, and `predict` lost its later rows."""
    finished.copy(tmp_path)
    images("n", 猫=3, zebra=3)(tmp_path)
    (tmp_path / "n/猫/00.png").rename(tmp_path / "n/猫/é.png")
    lines = (
        "study rename p-quick 猫",
        "status 猫",
        "study list",
        "report 猫",
        "explore n",
        "predict runs/p-quick/model n",
    )
    done = process(*lines, cwd=tmp_path, **how)
    codes(
        done,
        *(f"{' '.join(line.split()[:2])} 0".encode("ascii", "backslashreplace").decode() for line in lines),
    )
    out = done.stdout.decode("utf-8")
    assert sum(line.startswith("n/") for line in out.splitlines()) == 6
    assert out.rstrip().splitlines()[-1].startswith("n/猫/")


def test_d19_a_machine_without_a_home(finished: Finished, tmp_path: Path) -> None:
    """D19: tracebacks in `explore`, `sources` and `verify`."""
    finished.copy(tmp_path)
    lines = ("sources", "explore p", f"verify {'runs/p-quick/best_strategy.json'}", "status p-quick")
    done = process(
        *lines, cwd=tmp_path, without=("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME"), TMPDIR=str(tmp_path)
    )
    codes(done, "sources 0", "explore p 0", "verify runs/p-quick/best_strategy.json 0", "status p-quick 0")


def test_d18_a_module_of_the_user_is_not_imported(finished: Finished, tmp_path: Path) -> None:
    """D18: workers of `search -n 2` imported the `random.py` that lay there; colours were forced into a log."""
    images("p", cat=14, dog=14)(tmp_path)
    (tmp_path / "random.py").write_text("raise SystemExit('not the library')")
    script = Path(sys.executable).with_name("automl-transfer")
    if not script.exists():
        pytest.skip("the command is not installed")
    done = subprocess.run(
        [script, "search", "p", *CHEAP.split(), "--confirm", "off", "-n", "2", "--device", "cpu"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FORCE_COLOR": "1", "NO_COLOR": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not the library" not in done.stdout + done.stderr
    assert "\x1b[2K" not in done.stdout + done.stderr
    assert (tmp_path / "runs/p-quick/model/model.json").exists()


def test_d21_a_search_of_no_time_still_ends_with_an_answer(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D21: `--minutes` is the whole command; what was not reached is said, and nothing is left half-made."""
    finished.copy(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = typed("search", "p", "--set", "search.trials=50", "--minutes", "0.02", "--study-name", "short")
    assert done.code == 0, done.text
    assert "the time of the search is used up" in done.text
    assert Path("runs/short/model/model.json").exists()
    assert typed("predict", "runs/short/model", "p/cat").code == 0


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
def test_d18_slurms_warning_ends_a_search_in_good_order(finished: Finished, tmp_path: Path) -> None:
    """D18: SIGUSR1 killed instead of releasing."""
    finished.copy(tmp_path)
    code = (
        "import os, signal, sys\n"
        "from automl_transfer.api.search import SearchEvents, run_study\n"
        "from automl_transfer.space.study_file import study_spec\n"
        "from automl_transfer.store.url import StoreURL\n"
        "from automl_transfer.workers.signals import StopRequest, stop_on_signals\n"
        "from pathlib import Path\n"
        "class Warned(SearchEvents):\n"
        "    def on_study(self, *_): os.kill(os.getpid(), signal.SIGUSR1)\n"
        "stop = StopRequest()\n"
        "with stop_on_signals(stop):\n"
        "    found = run_study(study_spec('p', 'quick', []), storage=StoreURL.parse('w.db'), output=Path('w'),\n"
        "                      device='cpu', stop=stop, events=Warned())\n"
        "print('in order', found.finished)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["in", "order", "False"], done.stderr
