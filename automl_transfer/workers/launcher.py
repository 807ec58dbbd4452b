"""Launchers start workers: as processes of this machine, or as threads of this process for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from automl_transfer.machine import usable_cores
from automl_transfer.store.url import ENVIRONMENT_VARIABLE, StoreURL
from automl_transfer.workers.signals import StopRequest


class StartedWorker(ABC):
    """One worker that a launcher has started. `name` says who it is to a person."""

    name: str

    @abstractmethod
    def poll(self) -> int | None:
        """Its exit code, as `automl-transfer worker` documents them; None while it lives. Never waits."""

    @abstractmethod
    def ask(self) -> None:
        """Ask it to checkpoint, release its trial and leave. May be called twice, and after its end."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once; its trial is found and handed on by others. May be called after its end."""

    def last_words(self) -> str:
        """The last line it logged, for the reason of a failure."""
        return ""


class Launcher(ABC):
    """Starts workers of one study. Called from one thread."""

    @abstractmethod
    def start(self, index: int) -> StartedWorker:
        """Start worker number `index`, counted from 0; again with the same number after a crash."""


@dataclass(frozen=True)
class WorkerCommand:
    """What `automl-transfer worker` is started with.

    Attributes:
        url: Reaches the worker through its environment, because arguments show in process lists.
        threads: Of each worker.
        extra: Further options, as on the command line.
        logs: Folder for one log file a worker.
    """

    study: str
    url: StoreURL
    logs: Path
    threads: int
    device: str = "auto"
    data_root: Path | None = None
    cache_root: Path | None = None
    extra: Sequence[str] = ()

    def arguments(self, index: int) -> list[str]:
        """The command line of one worker."""
        # -P: without it a random.py or queue.py in the working folder would be imported instead of Python's.
        line = [sys.executable, "-P", "-m", "automl_transfer", "worker", self.study]
        line += ["--threads", str(self.threads), "--device", self.device, "--index", str(index)]
        for option, value in (("--data-root", self.data_root), ("--cache", self.cache_root)):
            if value is not None:
                line += [option, str(value)]
        return [*line, *self.extra]

    def environment(self) -> dict[str, str]:
        """The environment of every worker."""
        path = self.url.path
        shown = f"sqlite:///{path.resolve()}" if path is not None else self.url.reveal()
        threads = str(self.threads)
        return {
            **os.environ,
            **_import_path(),
            ENVIRONMENT_VARIABLE: shown,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONUNBUFFERED": "1",
        }


class SubprocessLauncher(Launcher):
    """Starts `automl-transfer worker` processes, each in a session of its own.

    So a Ctrl-C of the terminal reaches only the launching process, which then asks each worker once.
    """

    def __init__(self, command: WorkerCommand) -> None:
        self._command = command
        command.logs.mkdir(parents=True, exist_ok=True)

    def start(self, index: int) -> StartedWorker:
        """Start one process."""
        path = self._command.logs / f"worker-{index}.log"
        with path.open("ab") as stream:
            process = subprocess.Popen(
                self._command.arguments(index),
                env=self._command.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        return _Process(process, path)


class _Process(StartedWorker):
    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.name = str(process.pid)

    def poll(self) -> int | None:
        return self._process.poll()

    def ask(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        try:
            with self._log.open("rb") as stream:
                stream.seek(max(0, self._log.stat().st_size - 4000))
                lines = stream.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:500] if lines else ""


class InProcessLauncher(Launcher):
    """The twin for tests: each worker is a thread that runs a function until its stop is asked for.

    Args:
        run: Takes the worker's number and its stop request; returns its exit code.
    """

    def __init__(self, run: Callable[[int, StopRequest], int]) -> None:
        self._run = run

    def start(self, index: int) -> StartedWorker:
        """Start one thread."""
        return _Thread(index, self._run)


class _Thread(StartedWorker):
    def __init__(self, index: int, run: Callable[[int, StopRequest], int]) -> None:
        self.name = f"thread-{index}"
        self._stop = StopRequest()
        self._code: int | None = None
        self._error = ""
        self._killed = False
        self._thread = threading.Thread(target=self._main, args=(index, run), name=self.name, daemon=True)
        self._thread.start()

    def _main(self, index: int, run: Callable[[int, StopRequest], int]) -> None:
        try:
            self._code = run(index, self._stop)
        except Exception as error:
            self._error = f"{type(error).__name__}: {error}"
            self._code = 1

    def poll(self) -> int | None:
        return -9 if self._killed else self._code

    def ask(self) -> None:
        self._stop.ask("asked by the launcher")

    def kill(self) -> None:
        # A thread cannot be ended from outside: it is asked, and no longer counted.
        self._stop.ask("killed by the launcher")
        self._killed = self._code is None

    def last_words(self) -> str:
        return self._error


def _import_path() -> dict[str, str]:
    """Where this package is a checkout in the working folder, nothing but that folder leads to it."""
    checkout = Path(__file__).resolve().parents[2]
    if checkout != Path.cwd().resolve():
        return {}
    given = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{given}{os.pathsep}{checkout}" if given else str(checkout)}


def threads_for(workers: int) -> int:
    """The processor cores this process may use, divided among workers; at least one each."""
    return max(1, usable_cores() // workers)
