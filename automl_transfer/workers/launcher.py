"""The contract of launchers, which start workers, and the one that starts processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from automl_transfer.errors import ConfigurationError
from automl_transfer.machine import usable_cores
from automl_transfer.store.url import ENVIRONMENT_VARIABLE, StoreURL

DONE, WRONG_USAGE = 0, 2
"""Exit codes of workers that mean something to whoever watches them; `signals.INTERRUPTED` is the third."""


class StartedWorker(ABC):
    """One worker that a launcher has started. `name` says who it is to a person.

    A worker finds its work in the store: whoever started it only watches it. Nothing here may wait long, and
    nothing raises after the worker's end.
    """

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
    """Starts workers of one study, wherever they run; called from one thread.

    The supervisor starts workers 0 to N-1, polls each a few times a second, starts one that crashed again
    under its number, and at the end asks each to leave, waits, and kills those that stay. A launcher that
    dies loses nothing: its workers' leases run out, and others go on with their trials. What a worker logs
    belongs into `command.logs`, a file a worker (`worker-0.log`), where `report` collects it.

    `search --launcher NAME` and `launch --launcher NAME` take those of `launchers.LAUNCHERS` and of other
    packages: a class, or a function, that is called with a `WorkerCommand`. One for a batch system:

        class Batch(Launcher):
            def __init__(self, command): self.command = command
            def start(self, index):
                return Job(submit(self.command.arguments(index), self.command.environment()))

        class Job(StartedWorker):
            def __init__(self, id): self.name = id
            def poll(self): return exit_code(self.name)    # None while it waits or runs
            def ask(self): signal(self.name, "TERM")
            def kill(self): cancel(self.name)
    """

    @abstractmethod
    def start(self, index: int) -> StartedWorker:
        """Start worker number `index`, counted from 0; again with the same number after a crash."""

    def close(self) -> None:  # noqa: B027  (most have nothing to leave)
        """Leave what was connected to. Called once, when all workers have left."""


@dataclass(frozen=True)
class WorkerCommand:
    """What `automl-transfer worker` is started with.

    Attributes:
        url: Reaches the worker through its environment, because arguments show in process lists.
        threads: Of each worker; None leaves it to the launcher.
        grace: Seconds of silence after which a worker is lost.
        logs: Folder for one log file a worker.
        workers: So many are started.
        devices: That train a model together, of each worker.
        shard: Whether each of these has whole weights (`ddp`) or a part of them (`fsdp`).
        settings: The launcher's own, by name, as `--launcher-set` gives them; read them with `Settings`.
    """

    study: str
    url: StoreURL
    logs: Path
    threads: int | None = None
    device: str = "auto"
    data_root: Path | None = None
    cache_root: Path | None = None
    grace: float = 60.0
    workers: int = 1
    devices: int = 1
    shard: str = "ddp"
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def threads_here(self) -> int:
        """Of each worker on this machine: its cores, divided, where nobody says how many."""
        return self.threads or threads_for(self.workers)

    def arguments(self, index: int) -> list[str]:
        """The command line of one worker on this machine."""
        return [sys.executable, *self.options(index)]

    def options(self, index: int) -> list[str]:
        """What stands behind `python` in the command line of one worker, on any machine."""
        # -P: without it a random.py or queue.py in the working folder would be imported instead of Python's.
        line = ["-P", "-m", "automl_transfer", "worker", self.study]
        line += ["--threads", str(self.threads_here), "--device", self.device, "--index", str(index)]
        line += ["--grace", f"{self.grace:g}"]
        line += ["--devices", str(self.devices), "--shard", self.shard] if self.devices > 1 else []
        for option, value in (("--data-root", self.data_root), ("--cache", self.cache_root)):
            if value is not None:
                line += [option, str(value)]
        return line

    def environment(self) -> dict[str, str]:
        """The environment of every worker on this machine."""
        return {**os.environ, **import_path(), **self.variables()}

    def variables(self) -> dict[str, str]:
        """What a worker needs in its environment on any machine; holds the password of the store."""
        threads = str(self.threads_here)
        return {
            ENVIRONMENT_VARIABLE: self.url.absolute.reveal(),
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONUNBUFFERED": "1",
        }


class Settings:
    """Settings of a launcher, read one by one. `end` refuses what nobody has read.

    Args:
        launcher: Its name, for messages.
        given: By name, as text.
    """

    def __init__(self, launcher: str, given: Mapping[str, str]) -> None:
        self._launcher = launcher
        self._left = dict(given)
        self._known: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        """One as it is."""
        self._known.append(name)
        return self._left.pop(name, default)

    def number(self, name: str, default: float, least: float = 0.0) -> float:
        """One as a number.

        Raises:
            ConfigurationError: It is none, or below `least`.
        """
        text = self.text(name, str(default))
        try:
            found = float(text)
        except ValueError:
            found = float("nan")
        if not least <= found < float("inf"):
            raise ConfigurationError(
                f"{name} of the launcher {self._launcher} must be a number from {least:g} on, got {text!r}"
            )
        return found

    def starting(self, prefix: str) -> dict[str, str]:
        """All whose names begin so."""
        self._known.append(f"{prefix}...")
        return {name: self._left.pop(name) for name in list(self._left) if name.startswith(prefix)}

    def end(self) -> None:
        """Raise ConfigurationError where something is left."""
        if self._left:
            known = f"must be among {', '.join(self._known)}" if self._known else "has none"
            raise ConfigurationError(
                f"settings of the launcher {self._launcher}: {known}, got {', '.join(sorted(self._left))}: "
                "correct --launcher-set, --address or --gpus-per-worker, or choose another --launcher"
            )


class SubprocessLauncher(Launcher):
    """Starts `automl-transfer worker` processes, each in a session of its own.

    So a Ctrl-C of the terminal reaches only the launching process, which then asks each worker once.
    """

    def __init__(self, command: WorkerCommand) -> None:
        Settings("local", command.settings).end()
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


def import_path() -> dict[str, str]:
    """Where this package is a checkout in the working folder, nothing but that folder leads to it."""
    checkout = Path(__file__).resolve().parents[2]
    if checkout != Path.cwd().resolve():
        return {}
    given = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{given}{os.pathsep}{checkout}" if given else str(checkout)}


def threads_for(workers: int) -> int:
    """The processor cores this process may use, divided among workers; at least one each."""
    return max(1, usable_cores() // workers)
