"""When a worker leaves: by its own start or with the search that it helps, with `minutes`; by `--max-time`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from worker_helpers import Process, strategy, tiny_study

from automl_transfer.domain.records import TrialState
from automl_transfer.store import tables as t
from automl_transfer.workers.sharing import SharedWork
from automl_transfer.workers.signals import TIME_UP, StopRequest
from automl_transfer.workers.timekeeper import TimeKeeper, WorkerTime

Start = Callable[..., Process]


def test_a_worker_leaves_with_the_search_that_it_helps(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, minutes=10, trials=1) as study:
        now = time.monotonic()
        alone = WorkerTime(study.store, study.handle)
        ends = alone()
        assert ends is not None
        assert 600 <= ends - now < 700
        with SharedWork(study.store, study.handle) as search:
            search.ends_in(30.0)
            ends = alone()
            assert ends is not None
            assert ends - time.monotonic() <= 30
            search.ends_in(-1.0)  # it confirms now
            ends = alone()
            assert ends is not None
            assert ends < time.monotonic()
        ends = alone()  # it has ended: what was known stays
        assert ends is not None
        assert ends < time.monotonic()
        late = WorkerTime(study.store, study.handle)()  # somebody goes on on purpose
        assert late is not None
        assert late - time.monotonic() > 500


def test_a_study_without_minutes_has_no_end(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, trials=1) as study:
        assert WorkerTime(study.store, study.handle)() is None


def test_a_machine_that_slept_goes_on_with_the_time_that_was_left(tmp_path: Path) -> None:
    """The database's clock went on for an hour, that of the search and of its workers stood still."""
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, minutes=10, trials=1) as study:
        worker = WorkerTime(study.store, study.handle)
        with SharedWork(study.store, study.handle) as search:
            search.ends_in(300.0)
            assert worker() is not None
            slept = {"beat": t.at_claims.c.beat - 3600.0, "ends": t.at_claims.c.ends - 3600.0}
            with study.store.engine.begin() as connection:
                connection.execute(sa.update(t.at_claims).values(slept))
            for _ in ("the worker wakes first", "the search has beaten"):
                ends = worker()
                assert ends is not None
                assert 200 < ends - time.monotonic() <= 300
                search.step()


def test_a_worker_whose_max_time_is_over_gives_its_trial_back(tmp_path: Path, start: Start) -> None:
    """It made an answer of what was half trained, or began more: that is for the end of the search's time."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy()], max_epochs=5000) as study:
        worker = start(url, "worker", "tiny", "--device", "cpu", "--threads", "1", "--max-time", "1s")
        assert worker.wait() == 0, worker.said()
        assert worker.said().splitlines()[-1] == "left after 0 trials: its --max-time is over"
        (record,) = study.records()
    assert (record.state, record.attempt) == (TrialState.WAITING, 0)


def test_the_deadline_moves_and_trouble_leaves_it() -> None:
    stop, asked = StopRequest(), threading.Semaphore(0)
    answers: list[float | None] = [None, 0.0]

    def deadline() -> float | None:
        asked.release()
        if not answers:
            raise OSError("the store is away")
        return answers.pop(0)

    with TimeKeeper(stop, deadline, interval=0.01):
        for _ in range(4):
            assert asked.acquire(timeout=60)
        assert stop.reason == TIME_UP
