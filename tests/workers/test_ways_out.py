"""Any way out of a claim ends it (D16), any warning of a batch system asks (D18), and nothing else is run."""

from __future__ import annotations

import contextlib
import logging
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_helpers import Process, TinyStudy, strategy, tiny_study, until

from automl_transfer.domain.records import TrialState
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import Claim
from automl_transfer.workers import worker as worker_module
from automl_transfer.workers.heartbeat import reap_lost
from automl_transfer.workers.identity import at_work, new_worker_id
from automl_transfer.workers.launcher import WorkerCommand
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.spool import Spool
from automl_transfer.workers.worker import SilentObserver, Worker

LONG = [strategy(1e-3)]


class Interrupts(SilentObserver):
    """Raises where a notebook's interrupt would: in the middle of training."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_epoch(self, *_: object) -> None:
        raise self.error


def run(study: TinyStudy, observer: SilentObserver) -> None:
    Worker(study.store, study.handle, study.bench, stop=StopRequest(), observer=observer).run()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_an_interrupt_gives_the_trial_back_at_once(tmp_path: Path, error: BaseException) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, LONG) as study:
        with pytest.raises(type(error)):
            run(study, Interrupts(error))
        (record,) = study.records()
        assert (record.state, record.attempt) == (TrialState.WAITING, 0)
        assert "interrupted" in str(record.stop)
        assert study.trials.workers(study.handle) == []
        run(study, SilentObserver())
        assert [(r.state, r.attempt) for r in study.records()] == [(TrialState.COMPLETE, 0)]


def test_an_error_that_nobody_foresaw_counts_as_an_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given back without an end, such a trial would be taken again for ever."""
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, LONG) as study:

        def broken(self: Worker, claim: Claim, end: object) -> None:
            raise ZeroDivisionError("handing in")

        monkeypatch.setattr(Worker, "_hand_in", broken)
        with pytest.raises(ZeroDivisionError):
            run(study, SilentObserver())
        states = [(r.state, r.attempt) for r in study.records()]
        assert states == [(TrialState.FAIL, 0), (TrialState.WAITING, 1)]
        assert "handing in" in str(study.records()[0].stop)


def test_a_lease_that_an_interrupt_left_behind_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel of a notebook lives on: its own old lease is dead all the same, and no time is stated."""
    monkeypatch.setattr(worker_module.Worker, "_give_back", lambda *_, **__: None)
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, LONG) as study:
        with pytest.raises(KeyboardInterrupt):
            run(study, Interrupts(KeyboardInterrupt()))
        assert len(study.trials.workers(study.handle)) == 1
        run(study, SilentObserver())
        states = [(r.state, r.attempt) for r in study.records()]
        assert states == [(TrialState.FAIL, 0), (TrialState.COMPLETE, 1)]
        said = str(study.records()[0].stop)
        assert "ended without giving it back" in said
        assert "silent" not in said


def test_a_verdict_of_death_spares_the_living(tmp_path: Path) -> None:
    """D12: only the dead worker's trial is handed on; the grace period is for the others."""
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy(), strategy(2e-3)]) as study:
        alive, dead = new_worker_id(), new_worker_id()
        with at_work(alive):
            for name in (dead, alive):
                assert study.trials.claim(study.handle, name) is not None
            (reaped,) = reap_lost(study.trials, study.handle, grace=60)
            assert reaped.worker == dead
            assert [row.worker for row in study.trials.workers(study.handle)] == [alive]
            assert all(row.beat_age < 60 for row in study.trials.workers(study.handle))


def test_python_interrupted_by_a_real_signal(tmp_path: Path) -> None:
    """D16: `search()` in a notebook's process, interrupted while it trains; the next call goes on."""
    code = """
import os, signal, sys
from automl_transfer.api.front import search
from automl_transfer.api.search import SearchEvents
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.workers.worker import SilentObserver

class Once(SearchEvents, SilentObserver):
    def observer(self): return self
    def on_epoch(self, *_):
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
budget = SearchSpec(trials=1, max_epochs=2, profile=False, default_first=False, confirm=0, pruner="none")
space = {"truncation": 3, "tune_mode": "head", "head_init": "he", "learning_rate": "search"}
spec = StudySpec(name="s", task=TaskSpec(dataset="digits?per_class=20"), search=budget, space=space)
settings = {"output": sys.argv[1] + "/run", "storage": sys.argv[1] + "/s.db", "device": "cpu"}
try:
    search(spec, **settings, events=Once())
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted")
result = search(spec, **settings)
print(result.finished)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=200
    )
    assert done.stdout.split() == ["interrupted", "True"], done.stderr[-2000:]
    with Store.open(StoreURL.parse(str(tmp_path / "s.db"))) as store:
        (record,) = Trials(store).records(store.study(store.studies()[0].name))
    assert (record.state, record.attempt) == (TrialState.COMPLETE, 0)


SIGNALS = """
import os, signal, sys
from automl_transfer.workers.signals import StopRequest, stop_on_signals
request = StopRequest()
with stop_on_signals(request):
    for name in sys.argv[1:]:
        os.kill(os.getpid(), getattr(signal, name))
        print(name, request.reason, flush=True)
"""


def signals(*names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SIGNALS, *names], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("warning", ["SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_warnings_of_batch_systems_ask_and_never_end(warning: str) -> None:
    """D18: Slurm's SIGUSR1 killed. The SIGTERM that follows it still finds a process that gives back."""
    done = signals(warning, warning, "SIGTERM")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{warning} {warning} received",
        f"{warning} {warning} received",
        f"SIGTERM {warning} received",
    ]


def test_the_second_ending_signal_ends() -> None:
    done = signals("SIGUSR1", "SIGTERM", "SIGINT")
    assert done.returncode == 130
    assert len(done.stdout.splitlines()) == 2


def test_a_hidden_cursor_is_shown_again() -> None:
    """D18: two Ctrl-C while a bar is drawn left the terminal without its cursor."""
    code = (
        "import os, signal\n"
        "from automl_transfer.workers.signals import StopRequest, stop_on_signals\n"
        "with stop_on_signals(StopRequest()):\n"
        "    print('\\x1b[?25l', end='', flush=True)\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(ours, 4096):  # what was written in two pieces may come as two
            shown += part
    os.close(ours)
    assert process.wait(timeout=60) == 130
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")


def test_workers_do_not_import_what_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D18: a random.py of the user's own."""
    (tmp_path / "random.py").write_text("raise SystemExit('the user\\'s random.py was imported')\n")
    monkeypatch.chdir(tmp_path)
    command = WorkerCommand("none", StoreURL.parse(str(tmp_path / "none.db")), tmp_path, 1)
    done = subprocess.run(
        command.arguments(0), env=command.environment(), capture_output=True, text=True, timeout=100
    )
    assert "random.py was imported" not in done.stderr
    assert "got no database" in done.stderr
    assert done.returncode == 2


def test_a_checkout_in_the_working_folder_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Path(worker_module.__file__).parents[2]
    monkeypatch.chdir(checkout)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    command = WorkerCommand("none", StoreURL.parse("none.db"), checkout, 1)
    assert command.environment()["PYTHONPATH"] == str(checkout)


def test_a_spooled_file_that_is_no_result_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E14: deep JSON ended every later search. What another version wrote is left for it."""
    monkeypatch.setattr(logging.getLogger("automl_transfer"), "propagate", True)
    (tmp_path / "1-2-deep.json").write_text("[" * 100_000)
    (tmp_path / "1-2-other.json").write_text('{"claim": null, "new": 1}')
    assert list(Spool(tmp_path).waiting()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-2-deep.unreadable", "1-2-other.json"]
    assert "kept as 1-2-deep.unreadable" in caplog.text
    assert "left for its own version" in caplog.text


def test_a_released_worker_on_sigusr1(start: Callable[..., Process], tmp_path: Path) -> None:
    """The whole way: a real worker, warned in the middle of a trial, gives it back and leaves with 130."""
    slow = [strategy(1e-3).model_copy(update={"batch": 1})]
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, slow, max_epochs=81) as study:
        process = start(url, "worker", "tiny", "--device", "cpu")
        until(lambda: study.epoch_of() >= 0, process)
        process.signal(signal.SIGUSR1)
        assert process.wait() == 130
        (record,) = study.records()
        assert (record.state, record.attempt) == (TrialState.WAITING, 0)
        assert "SIGUSR1" in str(record.stop)


def test_waiting_for_a_file_that_does_not_exist_yet(start: Callable[..., Process], tmp_path: Path) -> None:
    """D18: `worker --wait` left at once."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    process = start(url, "worker", "tiny", "--wait", "90s", "--device", "cpu")
    until(lambda: "waiting: a study must exist, got no database" in process.said(), process)
    with tiny_study(url, tmp_path, [strategy()]) as study:
        assert process.wait() == 0, process.said()
        assert [r.state for r in study.records()] == [TrialState.COMPLETE]
