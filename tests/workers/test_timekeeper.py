"""When a worker leaves a study with `minutes`: by its own start, or with the search that it helps."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from worker_helpers import tiny_study

from automl_transfer.workers.sharing import SharedWork
from automl_transfer.workers.signals import TIME_UP, StopRequest
from automl_transfer.workers.timekeeper import TimeKeeper, WorkerTime


def test_a_worker_leaves_with_the_search_that_it_helps(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, minutes=10, trials=1) as study:
        now = time.monotonic()
        alone = WorkerTime(study.store, study.handle, None)
        ends = alone()
        assert ends is not None
        assert 600 <= ends - now < 700
        assert WorkerTime(study.store, study.handle, now + 5)() == now + 5  # --max-time comes first
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
        late = WorkerTime(study.store, study.handle, None)()  # somebody goes on on purpose
        assert late is not None
        assert late - time.monotonic() > 500


def test_a_study_without_minutes_has_no_end(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, trials=1) as study:
        assert WorkerTime(study.store, study.handle, None)() is None


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
