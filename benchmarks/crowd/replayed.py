"""Workers whose training is a wait: the project's own `Worker` and `Objective`, and everything that they do.

A worker claims, draws, reports, beats, pauses, promotes, writes checkpoints, hands its ends in through its spool and
publishes the study's page as `automl-transfer worker` does. Replaced are the model (`make_run`), the latency that
is measured of it, and the two pictures of a trial. Each worker has a store, and so connections, of its own, is a
machine of its own to the others, and has a process of its own (of more than 64, some share one). All of them and
the server compete for the cores of this machine, which on machines of their own they would not.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent))
import psutil
from filled import EPOCHS, Curves, curves, open_study, read_state, write_state

from automl_transfer.aborting import check_abort
from automl_transfer.domain.records import EpochResult, best_of
from automl_transfer.domain.strategy import Strategy
from automl_transfer.store.values import Claim
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.worker import SilentObserver, Worker, WorkerOptions

PNG = b"\x89PNG"
here = threading.local()
"""The diary and the request to stop of this thread's worker."""


@dataclass
class Diary:
    """When a worker did what, by `time.time()`.

    Attributes:
        trained: Begin and end of each wait, and how long it should have been.
        looked: Begin and end of each look for work.
        ended: When trials were handed in, finished or paused.
    """

    trained: list[tuple[float, float, float]] = field(default_factory=list)
    looked: list[tuple[float, float]] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Run:
    """Stands for a `TrainingRun`: an epoch is a wait, and what was recorded."""

    model = SimpleNamespace(state_dict=dict)

    def __init__(self, strategy: Strategy, answers: Curves, epochs: int, seconds: Any) -> None:
        self._strategy, self._answers = strategy, answers
        self._seconds = seconds
        self.max_epochs = epochs
        self.epoch = 0
        self.best: EpochResult | None = None
        self.plan = SimpleNamespace(parameters=3_400_000, trained_parameters=1_000_000, reconstructions=None)
        self._curve: list[EpochResult] = []

    @property
    def finished(self) -> bool:
        return self.epoch >= self.max_epochs

    def epochs(self) -> Iterator[EpochResult]:
        while not self.finished:
            if not here.diary.trained:
                with here.begun.get_lock():
                    here.begun.value += 1
            began, each = time.time(), self._seconds.value / self.max_epochs
            here.stop.event.wait(each)
            check_abort()
            here.diary.trained.append((began, time.time(), each))
            result = self._answers.epoch(self._strategy, self.epoch + 1, each)
            self.epoch = result.epoch
            self._curve.append(result)
            self.best = best_of(self._curve, "accuracy")
            yield result

    def load_best(self) -> None:
        pass

    def weights_sha256(self) -> str:
        return "0" * 64

    def conditions(self) -> dict[str, Any]:
        return {"threads": 1, "batch": 32, "device": "cpu"}

    def save(self, folder: Path) -> None:
        write_state(folder, self._curve)

    def restore(self, folder: Path) -> Any:
        self._curve = read_state(folder)
        self.epoch, self.best = self._curve[-1].epoch, best_of(self._curve, "accuracy")
        return SimpleNamespace(identical=True)


def replace_training(seconds: Any) -> None:
    """From now on, trials of this process are waits; one that comes to its end waits for `seconds.value`."""
    from automl_transfer.reporting.figures import registry
    from automl_transfer.search import objective, pictures
    from automl_transfer.training import crew, making

    assert crew
    assert registry  # with torch and plotly, which a worker loads when it needs them
    answers = curves()

    def make_run(strategy: Strategy, *_: Any, horizon: Any, **__: Any) -> Run:
        return Run(strategy, answers, horizon.epochs, seconds)

    making.make_run = make_run  # type: ignore[assignment]
    objective._latency = lambda run: 0.1
    pictures.draw_plan = lambda plan: PNG
    pictures.draw_curve = lambda *_: PNG


class Watched(Worker):
    """Notes when it looks for work."""

    def _next(self, beginning: Any) -> Claim | None:
        began = time.time()
        claim = super()._next(beginning)
        here.diary.looked.append((began, time.time()))
        return claim


class Ends(SilentObserver):
    """Notes when trials end."""

    def on_end(self, claim: Claim, end: Any) -> None:
        here.diary.ended.append(time.time())
        if end.state.name == "FAIL":
            here.diary.errors.append(str(end.stop)[:500])


def one_worker(
    url: str, number: int, folder: str, stop: StopRequest, diary: Diary, page: bool, begun: Any
) -> None:
    """Run one worker in this thread until it is asked to stop."""
    from automl_transfer.reporting.publish import LivePage

    here.diary, here.stop, here.begun = diary, stop, begun
    try:
        store, handle = open_study(url)
        with store:
            bench: Any = SimpleNamespace(
                handle=handle, task=None, device="cpu", activations=None, banks=None, crew=None,
                horizon=handle.spec.search.horizon(360), backbone=lambda source: None,
            )  # fmt: skip
            worker = Watched(
                store, handle, lambda: bench, stop=stop, observer=Ends(),
                options=WorkerOptions(index=number, min_free_bytes=0),
                spool=Path(folder) / f"spool-{number}",
                after_trial=LivePage(store, handle) if page else lambda: None,
            )  # fmt: skip
            worker.worker_id = f"machine-{number}.{number:016x}/1-1/{number:08x}"
            worker.run()
    except Exception as error:
        diary.errors.append(f"worker {number}: {type(error).__name__}: {error}"[:500])


def some_workers(
    url: str, numbers: list[int], folder: str, page: bool, waits: tuple[float, float], begun: Any, ends: Any,
    out: Any,
) -> None:  # fmt: skip
    """A process with some workers, from its start until `ends` is set; hands out their diaries.

    Args:
        waits: Seconds before the first one, and before each other one.
    """
    logging.getLogger("automl_transfer").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    stops = [StopRequest() for _ in numbers]
    diaries = [Diary() for _ in numbers]
    threads = [
        threading.Thread(target=one_worker, args=(url, number, folder, stop, diary, page, begun), daemon=True)
        for number, stop, diary in zip(numbers, stops, diaries, strict=True)
    ]
    wait, after = waits
    for thread in threads:
        if ends.wait(wait):
            break
        thread.start()
        wait = after
    ends.wait()
    for stop in stops:
        stop.ask("the measurement is over")
    for thread in threads:
        if thread.ident is not None:
            thread.join(timeout=60)
    out.put(diaries)


@dataclass(frozen=True)
class Measured:
    """What workers did in a window of `seconds`."""

    workers: int
    seconds: float
    efficiency: float
    trials_a_second: float
    look_ms: tuple[float, float]
    errors: tuple[str, ...]
    worker_cpu: float
    first_trained: float


def run_workers(
    url: str, workers: int, lengths: Sequence[float], folder: Path, *, warm: float, window: float, page: bool = True,
    processes: int = 64, stagger: float = 0.0, patience: float = 300.0,
    during: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> list[Measured]:  # fmt: skip
    """Start them, one each `stagger` seconds, let them come into their stride, and look at what they do.

    There is a window for each length of a trial, one after the other.
    """
    context = mp.get_context("fork")  # what they import is in memory once
    begun, ends, out = context.Value("i", 0), context.Event(), context.Queue()
    seconds = context.Value("d", lengths[0])
    replace_training(seconds)
    count = min(processes, workers)
    groups = [list(range(workers))[number::count] for number in range(count)]
    started = time.time()
    made = [
        context.Process(
            target=some_workers,
            args=(url, group, str(folder), page, (number * stagger, count * stagger), begun, ends, out),
        )
        for number, group in enumerate(groups)
    ]
    for process in made:
        process.start()
    windows = []
    try:
        while begun.value < workers and time.time() < started + patience:
            time.sleep(0.1)
        for length in lengths:
            under_way, seconds.value = seconds.value / EPOCHS, length
            time.sleep(max(warm, under_way))
            before = _spent(made)
            began = time.time()
            with during():
                time.sleep(window)
            over = time.time()
            windows.append((began, over, _spent(made) - before))
    finally:
        ends.set()
    diaries: list[Diary] = [diary for _ in made for diary in out.get(timeout=900)]
    for process in made:
        process.join(timeout=60)
        if process.is_alive():
            process.kill()
    return [_measured(diaries, started, *each) for each in windows]


def _spent(processes: Sequence[Any]) -> float:
    times = [psutil.Process(each.pid).cpu_times() for each in processes]
    return float(sum(each.user + each.system for each in times))


def _measured(diaries: Sequence[Diary], started: float, began: float, over: float, cpu: float) -> Measured:
    length = over - began
    ideal = sum(
        max(0.0, min(end, over) - max(start, began)) * min(1.0, planned / max(1e-9, end - start))
        for diary in diaries
        for start, end, planned in diary.trained
    )
    ended = sum(began <= at < over for diary in diaries for at in diary.ended)
    looks = sorted(1000 * (b - a) for diary in diaries for a, b in diary.looked if began <= b < over)
    firsts = [diary.trained[0][0] - started for diary in diaries if diary.trained]
    return Measured(
        len(diaries), length, ideal / (len(diaries) * length), ended / length,
        (looks[len(looks) // 2], looks[int(len(looks) * 0.95)]) if looks else (0.0, 0.0),
        tuple(error for diary in diaries for error in diary.errors), cpu / length, max(firsts, default=0.0),
    )  # fmt: skip
