"""Launchers and their supervision, with the in-process twin and with real processes."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from automl_transfer.store.url import StoreURL
from automl_transfer.workers.in_process import InProcessLauncher
from automl_transfer.workers.launcher import (
    Launcher,
    SubprocessLauncher,
    WorkerCommand,
    threads_for,
)
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.supervisor import SupervisorOptions, supervise

QUICK = SupervisorOptions(stagger=0.0, max_restarts=2, patience=0.3, poll=0.01)


@dataclass(frozen=True)
class ScriptCommand(WorkerCommand):
    """Runs a line of Python instead of a worker."""

    line: str = ""

    def arguments(self, index: int) -> list[str]:
        return [sys.executable, "-c", self.line, str(index)]


@pytest.fixture(params=["threads", "processes"])
def launch(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    """Makes a launcher whose workers end with a code, or stay until they are asked."""

    def make(code: int | None) -> Launcher:
        if request.param == "threads":

            def run(index: int, stop: StopRequest) -> int:
                if code is not None:
                    return code
                stop.event.wait(60)
                return 130

            return InProcessLauncher(run)
        line = f"import sys; print('words of', sys.argv[1]); sys.exit({code})"
        if code is None:
            line = (
                "import signal, sys\n"
                "signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\n"
                "signal.signal(signal.SIGINT, lambda *_: sys.exit(99))\n"
                "print('ready', flush=True)\n"
                "while True:\n"
                "    signal.pause()"
            )
        return SubprocessLauncher(ScriptCommand("s", StoreURL.parse("s.db"), tmp_path / "logs", 1, line=line))

    return make


def test_all_workers_that_are_done_have_left(launch) -> None:  # type: ignore[no-untyped-def]
    result = supervise(launch(0), 3, StopRequest(), options=QUICK)
    assert (result.codes, result.restarts, result.failure) == ((0, 0, 0), 0, "")


def test_a_worker_is_restarted_to_a_limit(launch) -> None:  # type: ignore[no-untyped-def]
    result = supervise(launch(1), 1, StopRequest(), options=SupervisorOptions(0.0, 1, 0.3, 0.01))
    assert (result.codes, result.restarts, result.all_failed) == ((1,), 1, True)
    assert "worker 0 ended with exit code 1" in result.failure


def test_wrong_usage_is_not_tried_again(launch) -> None:  # type: ignore[no-untyped-def]
    result = supervise(launch(2), 2, StopRequest(), options=QUICK)
    assert result.restarts == 0
    assert 2 in result.codes


def test_stopping_asks_every_worker_and_waits(launch) -> None:  # type: ignore[no-untyped-def]
    stop = StopRequest()
    seen = Counter[int]()

    def thread(slot) -> bool:  # type: ignore[no-untyped-def]
        return slot.worker.name.startswith("thread")

    def tick(slots) -> None:  # type: ignore[no-untyped-def]
        started = [slot for slot in slots if slot.worker is not None]
        seen.update(slot.index for slot in started if thread(slot) or slot.worker.last_words() == "ready")
        if len(seen) == 2:
            stop.ask("enough")

    result = supervise(launch(None), 2, stop, options=SupervisorOptions(0.0, 0, 30.0, 0.2), on_tick=tick)
    assert (result.codes, result.killed, result.reason) == ((130, 130), 0, "enough")


def test_a_worker_that_stays_is_killed_at_last() -> None:
    stop, leave = StopRequest(), threading.Event()

    def stubborn(index: int, _: StopRequest) -> int:
        stop.ask("enough")
        leave.wait(60)
        return 0

    result = supervise(InProcessLauncher(stubborn), 1, stop, options=QUICK)
    leave.set()
    assert (result.killed, result.codes) == (1, (-9,))


@pytest.mark.parametrize("leaves", [True, False])
def test_who_stays_although_the_study_is_over_is_asked_to_leave(leaves: bool) -> None:
    """Who waits in a queue kept the launch of a finished study; who leaves by itself is not disturbed."""
    looked, over = threading.Event(), threading.Event()
    answers = iter([False])

    def run(index: int, stop: StopRequest) -> int:
        if index == 0:
            looked.wait(60)
            return 0
        if leaves:
            over.wait(60)
            return 0
        stop.event.wait(60)
        return 130

    def is_over() -> bool:
        assert looked.is_set(), "asked before any worker is done"
        answer = next(answers, True)
        if answer:
            over.set()
        return answer

    result = supervise(
        InProcessLauncher(run), 2, StopRequest(),
        options=replace(QUICK, patience=30.0, leaving=60.0 if leaves else 0.0),
        on_tick=lambda slots: looked.set(), is_over=is_over,
    )  # fmt: skip
    assert over.is_set()
    assert (result.codes, result.killed) == ((0, 0 if leaves else 130), 0)


def test_the_storage_url_and_its_password_are_not_in_the_arguments(tmp_path: Path) -> None:
    url = StoreURL.parse("postgresql://me:secret@host/db")
    command = WorkerCommand("s", url, tmp_path, 3)
    assert not any("secret" in part or "postgresql" in part for part in command.arguments(0))
    environment = command.environment()
    assert "secret" in environment["AUTOML_TRANSFER_STORAGE"]
    assert environment["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("folder", ["My%20Photos", "what?", "50% #1", "猫 @home:"])
def test_workers_open_the_same_file_whatever_its_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    for text in ("here.db", str(tmp_path / folder / "here.db")):
        url = StoreURL.parse(text)
        told = WorkerCommand("s", url, tmp_path, 1).environment()["AUTOML_TRANSFER_STORAGE"]
        assert StoreURL.parse(told).path == tmp_path / folder / "here.db"


def test_threads_are_divided_and_never_zero() -> None:
    assert threads_for(10_000) == 1
    assert threads_for(1) >= 1
