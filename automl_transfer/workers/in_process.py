"""Workers as threads of this process: to debug a strategy, a plugin or a worker, and for tests."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.errors import ConfigurationError, UserError
from automl_transfer.importing import import_torch
from automl_transfer.workers.launcher import (
    DONE,
    WRONG_USAGE,
    Launcher,
    Settings,
    StartedWorker,
    WorkerCommand,
)
from automl_transfer.workers.sharing import FirstElsewhere
from automl_transfer.workers.signals import INTERRUPTED, StopRequest
from automl_transfer.workers.timekeeper import TimeKeeper, WorkerTime

if TYPE_CHECKING:
    from automl_transfer.search.workbench import Workbench
    from automl_transfer.store.values import StudyHandle


@contextmanager
def _threads(number: int) -> Iterator[None]:
    import_torch()
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class InProcessLauncher(Launcher):
    """Each worker is a thread that runs a function until its stop is asked for.

    Args:
        run: Takes the worker's number and its stop request; returns its exit code.
        logs: Folder for what ended a worker, with its traceback; None keeps no files.
    """

    def __init__(self, run: Callable[[int, StopRequest], int], logs: Path | None = None) -> None:
        self._run = run
        self._logs = logs

    def start(self, index: int) -> StartedWorker:
        """Start one thread."""
        return _Thread(index, self._run, self._logs)


class _Thread(StartedWorker):
    def __init__(self, index: int, run: Callable[[int, StopRequest], int], logs: Path | None) -> None:
        self.name = f"thread-{index}"
        self._stop = StopRequest()
        self._code: int | None = None
        self._error = ""
        self._killed = False
        self._log = logs / f"worker-{index}.log" if logs is not None else None
        self._thread = threading.Thread(target=self._main, args=(index, run), name=self.name, daemon=True)
        self._thread.start()

    def _main(self, index: int, run: Callable[[int, StopRequest], int]) -> None:
        try:
            self._code = run(index, self._stop)
        except Exception as error:
            known = isinstance(error, UserError)
            self._error = str(error) if known else f"{type(error).__name__}: {error}"
            if self._log is not None:
                self._log.parent.mkdir(parents=True, exist_ok=True)
                with self._log.open("a", encoding="utf-8") as stream:
                    traceback.print_exception(error, file=stream)
            self._code = WRONG_USAGE if known else 1

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


def _bench(command: WorkerCommand, handle: StudyHandle) -> Workbench:
    from automl_transfer.search.workbench import Workbench

    return Workbench.open(
        handle, device=command.device, data_root=command.data_root, cache_root=command.cache_root
    )


def in_process(command: WorkerCommand) -> Launcher:
    """Workers of one study as threads, which take turns, a trial each: torch's generators are global."""
    Settings("inprocess", command.settings).end()
    if command.devices > 1:
        raise ConfigurationError(
            f"--devices needs processes, got {command.devices} with the launcher inprocess, whose workers "
            "are threads: take another --launcher"
        )
    turn = threading.Lock()
    benches: list[Workbench] = []  # data and networks are loaded once

    def run(index: int, stop: StopRequest) -> int:
        from automl_transfer.store.store import Store
        from automl_transfer.workers.worker import Worker, WorkerOptions

        with Store.open(command.url) as store:
            handle = store.study(command.study)

            def open_bench() -> Workbench:
                if not benches:
                    benches.append(_bench(command, handle))
                return benches[0]

            options = WorkerOptions(index=index, grace=command.grace, max_trials=1)
            first = FirstElsewhere(store, handle)
            with TimeKeeper(stop, WorkerTime(store, handle)):
                while stop.asked is None:  # with its time up, a study may still lack an answer
                    with turn, _threads(command.threads_here):
                        report = Worker(
                            store, handle, open_bench, stop=stop, options=options, before_draw=first
                        ).run()
                    if stop.asked is None and (report.finished or not report.trials):
                        return DONE
        return INTERRUPTED

    return InProcessLauncher(run, command.logs)
