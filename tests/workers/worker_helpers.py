"""Builders for tests with real worker processes: tiny studies of cheap strategies."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import forge
import waiting

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.spec import StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.workbench import Workbench, source_digests
from automl_transfer.space.space import Space
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import StudyHandle

TASK = TaskSpec(dataset="digits?per_class=20")
SPACE = {
    "truncation": 3,
    "transfer_depth": 8,
    "tune_mode": "head",
    "head_init": "he",
    "learning_rate": "search",
}


def strategy(learning_rate: float = 1e-3) -> Strategy:
    return Strategy(truncation=3, tune_mode="head", head_init="he", learning_rate=learning_rate).canonical()


@functools.cache
def _digits() -> LoadedTask:
    """Read once: nobody changes it."""
    return load_task(TASK)


@dataclass
class TinyStudy:
    """A study in a store, with what a test asks about it."""

    url: str
    store: Store
    handle: StudyHandle
    task: LoadedTask

    @property
    def trials(self) -> Trials:
        return Trials(self.store)

    def records(self) -> list[TrialRecord]:
        return self.trials.records(self.handle)

    def enqueue(self, strategies: Sequence[Strategy]) -> None:
        space = Space.of_study(self.handle.spec)
        for item in strategies:
            self.trials.enqueue(self.handle, fixed_draft(item, space, "test"))

    def bench(self) -> Workbench:
        return Workbench.open(self.handle, device="cpu", task=self.task)

    def epoch_of(self, number: int = 0) -> int:
        """The last stored epoch of a trial; -1 before the first."""
        return max((e.epoch for r in self.records() if r.number == number for e in r.epochs), default=-1)


@contextlib.contextmanager
def tiny_study(
    url: str,
    folder: Path,
    strategies: Sequence[Strategy] = (),
    *,
    patience: float = 60,
    extra_space: Mapping[str, object] | None = None,
    **search: object,
) -> Iterator[TinyStudy]:
    settings = {
        "trials": len(strategies),
        "max_epochs": 3,
        "pruner": "none",
        "sampler": "random",
        "stop_when": "budget",
        **search,
    }
    space = {**SPACE, **(extra_space or {})}
    spec = StudySpec.model_validate({"name": "tiny", "task": TASK, "search": settings, "space": space})
    loaded = _digits()
    with Store.open(StoreURL.parse(url), patience=patience) as store:
        handle = store.create_study(
            spec, loaded.task, artifact_url=str(folder / "artifacts"), sources=source_digests(spec)
        )
        study = TinyStudy(url, store, handle, loaded)
        study.enqueue(strategies)
        yield study


class Process:
    """A command of ours as a real process; killed with the test if it has not ended.

    It comes from the forge, unless what happens on starting matters (`afresh`).
    """

    def __init__(self, url: str, *arguments: str, log: Path, afresh: bool = False) -> None:
        self.log = log
        environment = {**os.environ, "AUTOML_TRANSFER_STORAGE": url, "OMP_NUM_THREADS": "1"}
        self.process: subprocess.Popen[bytes] | forge.Forged
        with log.open("wb") as stream:
            if not afresh:
                self.process = forge.start(arguments, environment, stream)
                return
            self.process = subprocess.Popen(
                [sys.executable, "-m", "automl_transfer", *arguments],
                stdout=stream,
                stderr=stream,
                env=environment,
                start_new_session=True,
            )

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 120) -> int:
        return self.process.wait(timeout=seconds)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def until(condition: Callable[[], bool], process: Process | None = None, seconds: float = 90) -> None:
    """Look again and again until something is so, or the process that is to bring it about has ended."""

    def looked() -> bool:
        if condition():
            return True
        if process is not None and process.process.poll() is not None:
            raise AssertionError(f"the process ended too early: {process.said()[-3000:]}")
        return False

    waiting.until(looked, seconds, on=lambda: process.said()[-3000:] if process else "")
