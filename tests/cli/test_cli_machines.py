"""The command line on machines as they are: logs, homes, secrets, and stores that may only be read."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
from pathlib import Path

import forge
import pytest
from nobody import as_nobody, as_root, open_to_all
from rich.console import Console

from automl_transfer.cli.live import LiveSearch
from automl_transfer.cli.screen import watched
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.workers.logs import LogObserver, log_worker

SMALL = [
    part
    for setting in ("trials=1", "max_epochs=2", "profile=false", "confirm=0", "pruner=none")
    for part in ("--set", f"search.{setting}")
]
SEVERAL = """
import json, sys
from automl_transfer.cli.main import main
for line in json.loads(sys.argv[1]):
    try:
        main(line)
    except SystemExit as left:
        print(line[0], left.code, file=sys.stderr)
"""
SPEC = StudySpec(name="s", task=TaskSpec(dataset="digits"), search=SearchSpec(trials=4), space={})


def run(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [forge.command(), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small search in a file (D18: FORCE_COLOR=1), whose output goes to ~/r; and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "home").mkdir()
    done = run(
        "search", "digits?per_class=20", *SMALL, "--study-name", "small", "--output=~/r", "--storage",
        "~/s.db", "--cache=~/cache", cwd=folder, HOME=str(folder / "home"), FORCE_COLOR="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


def test_a_tilde_in_paths_and_urls_is_the_home(finished: tuple[Path, str]) -> None:
    """D17: folders named ~ were made."""
    folder, _ = finished
    assert [path.name for path in folder.iterdir()] == ["home"]
    assert {"r", "s.db", "cache"} <= {path.name for path in (folder / "home").iterdir()}


def test_nothing_is_redrawn_in_a_file(finished: tuple[Path, str]) -> None:
    _, said = finished
    assert not re.search(r"\x1b\[(\d*[A-KSTf]|\?25[lh])|\r", said), "cursor movements"
    assert said.count("\n") < 60


@as_root
def test_a_store_that_may_only_be_read(finished: tuple[Path, str], tmp_path: Path) -> None:
    """D19: status, report, study list and export by somebody who may write neither file nor folder."""
    folder, _ = finished
    open_to_all(tmp_path)
    home = folder / "home"
    home.chmod(0o555)
    url = f"sqlite:///{home / 's.db'}"
    try:
        lines = [
            ["status", "small", "--storage", url],
            ["report", "small", "--html", str(tmp_path / "page.html"), "--storage", url],
            ["study", "list", "--storage", url],
            ["export", "small", "--output", str(tmp_path / "exported"), "--storage", url],
        ]
        done = as_nobody(SEVERAL, json.dumps(lines), TMPDIR=str(tmp_path))
        assert done.stderr.splitlines() == ["status 0", "report 0", "study 0", "export 0"]
    finally:
        home.chmod(0o755)
    assert (tmp_path / "exported" / "best_strategy.json").exists()
    assert (tmp_path / "exported" / "model" / "model.safetensors").stat().st_mode & 0o044 == 0o044


def test_package_into_a_folder_that_cannot_be_written(finished: tuple[Path, str]) -> None:
    """D19: a traceback."""
    folder, _ = finished
    model = folder / "home" / "r" / "model"
    for kind in ("safetensors", "torch-export", "onnx"):
        done = run("package", model, "--format", kind, "--output", "/proc/x", cwd=folder)
        assert done.returncode == 2
        assert "must be writable, got /proc" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://ann:Tr0ub@dor@127.0.0.1:1/d",
        "host=127.0.0.1 port=1 user=ann password=Tr0ub@dor dbname=d",
        "postgresql://ann@127.0.0.1:1/d?PASSWORD=Tr0ub@dor",
        "postgresql://ann:Tr0ub@dor@nowhere.invalid:1/d?connect_timeout=1",
        "postgresql://ann:Tr0ub@dor@127.0.0.1:port/d",
        "mysql://ann:Tr0ub@dor@127.0.0.1/d",
        "Tr0ub@dor",
    ],
)
def test_no_password_in_any_error(storage: str, tmp_path: Path) -> None:
    """D14, E8: whatever way it is given, and whatever the driver says of it."""
    script = tmp_path / "status.py"
    script.write_text(
        "from automl_transfer.store import store\n"
        "opened = store.Store.open.__func__\n"
        "store.Store.open = classmethod(lambda cls, url, **o: opened(cls, url, **{**o, 'wait_seconds': 0.1}))\n"
        "from automl_transfer.cli.main import main; main(['-v', 'status', 's'])\n"
    )
    done = subprocess.run(
        [forge.command(), str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "AUTOML_TRANSFER_STORAGE": storage},
        timeout=100,
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    for part in ("Tr0ub", "dor@", "@dor"):
        assert part not in done.stdout + done.stderr


class Screen(io.StringIO):
    """A stream that is a terminal or is none."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_is_watched(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert watched(Console(file=Screen(terminal))) is terminal


def lines_of(screen: Screen, count: int) -> list[str]:
    import time

    while len(found := screen.getvalue().splitlines()) < count:
        time.sleep(0.01)
    return found


def test_a_line_a_minute_while_data_are_decoded_and_trials_train() -> None:
    """D18: no line for minutes; a "minute" of this test is short."""
    screen = Screen(terminal=False)
    with LiveSearch(Console(file=screen, width=200), SPEC, every=0.02) as live:
        live.on_progress("decoding images", 300, 5000)
        assert "decoding images: 300 of 5,000" in lines_of(screen, 1)[0]
        live._show("trial 3 epoch 2/9: 0.913")
        seen = len(screen.getvalue().splitlines())
        assert "trial 3 epoch 2/9: 0.913 (0 of 4 strategies)" in lines_of(screen, seen + 2)[-1]


def test_nothing_more_is_said_where_lines_come_anyway() -> None:
    screen = Screen(terminal=False)
    with LiveSearch(Console(file=screen, width=200), SPEC, every=3600) as live:
        live.on_progress("decoding images", 300, 5000)
        live._line("a trial ended")
    assert screen.getvalue() == "a trial ended\n"


def test_a_worker_logs_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("automl_transfer")
    for name in ("propagate", "level"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr(logger, "handlers", [])
    screen = Screen(terminal=False)
    observer = LogObserver("s", every=0.02)
    log_worker(observer, "text", stream=screen)
    with observer.pulse:
        observer.on_progress("decoding images", 300, 5000)
        assert "still decoding images: 300 of 5,000" in lines_of(screen, 1)[0]
