"""The contract under real processes: many at once, killed, and with a database that goes away."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from store_helpers import DONE, age, draft, open_study, outputs, start

from automl_transfer.domain.records import TrialState
from automl_transfer.errors import StoreUnavailableError
from automl_transfer.store import tables as t
from automl_transfer.store.retry import Patience
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import StudyHandle

Processes = list["subprocess.Popen[str]"]


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Whatever a test starts is ended, however the test ends."""
    started: Processes = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def go(processes: Processes) -> list[str]:
    """Let processes that wait at the line go at once; returns what each printed after it."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1][-3000:]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return outputs(processes)


def start_many(processes: Processes, number: int, *arguments: object) -> Processes:
    processes += [start(*map(str, arguments), stdin=subprocess.PIPE) for _ in range(number)]
    return processes


def numbers(texts: list[str]) -> list[int]:
    return sorted(int(word) for text in texts for word in text.split())


def test_eight_processes_open_an_empty_database(database_url: str, processes: Processes) -> None:
    assert numbers(go(start_many(processes, 8, "open_empty", database_url))) == list(range(8))


def test_four_processes_claim_a_hundred_trials_once_each(database_url: str, processes: Processes) -> None:
    store, study = open_study(database_url)
    trials = Trials(store)
    for number in range(100):
        trials.enqueue(study, draft(number))
    assert numbers(go(start_many(processes, 4, "claim_all", database_url))) == list(range(100))
    assert trials.counts(study).complete == 100
    store.close()


def test_the_limit_is_exact_with_eight_creators(database_url: str, processes: Processes) -> None:
    store, study = open_study(database_url)
    assert numbers(go(start_many(processes, 8, "create_up_to", database_url, 30))) == list(range(30))
    records = Trials(store).records(study)
    assert [r.number for r in records] == list(range(30))
    store.close()


def test_eight_processes_enqueue_one_trial(database_url: str, processes: Processes) -> None:
    store, study = open_study(database_url)
    texts = go(start_many(processes, 8, "enqueue_once", database_url))
    assert sorted(text.strip() for text in texts) == ["0", *["None"] * 7]
    assert len(Trials(store).records(study)) == 1
    store.close()


def test_two_reapers_make_one_child_each(database_url: str, processes: Processes) -> None:
    store, study = open_study(database_url)
    trials = Trials(store)
    for number in range(20):
        trials.create(study, draft(number), "w", limit=None)
    age(store, 100)
    assert trials.reap(study, grace=60) == []
    age(store, 100)
    found = numbers(go(start_many(processes, 3, "reap_all", database_url)))
    assert sum(found) == 20
    records = trials.records(study)
    assert sorted(r.root for r in records if r.attempt == 1) == list(range(20))
    assert len(records) == 40
    assert {r.state for r in records} == {TrialState.FAIL, TrialState.WAITING}
    store.close()


def test_killed_between_claim_and_first_beat(database_url: str, processes: Processes) -> None:
    store, study = open_study(database_url)
    trials = Trials(store)
    trials.enqueue(study, draft(1))
    processes.append(start("claim_and_wait", database_url, killed=True))
    assert processes[0].stdout is not None
    assert processes[0].stdout.readline() == "0\n"
    processes[0].kill()
    assert processes[0].wait() == -signal.SIGKILL
    age(store, 100)
    trials.reap(study, grace=60)
    age(store, 100)
    (reaped,) = trials.reap(study, grace=60)
    assert (reaped.worker, reaped.child) == ("doomed", 1)
    child = trials.claim(study, "w")
    assert child is not None
    assert child.strategy == draft(1).strategy
    store.close()


@pytest.mark.parametrize(
    "step",
    ["create", "record", "finish", "release", "fail", "restart", "reap", "pause", "go on", "promote", "end"],
)
def test_killed_at_any_statement_nothing_is_half_done(
    database_url: str, processes: Processes, step: str
) -> None:
    processes.append(start("kill_at_every_statement", database_url, step))
    (kills,) = numbers(outputs(processes))
    assert kills >= 3


def test_postgresql_restarts_under_running_workers(
    postgres_server: Any, postgres_url: str, processes: Processes
) -> None:
    store, study = open_study(postgres_url)
    processes += [start("train", postgres_url, 150) for _ in range(3)]
    for process in processes[:2]:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.poll() is None
        postgres_server.restart()
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-3000:]
        assert "the store has trouble" in errors
    records = Trials(store).records(study)
    assert [r.number for r in records] == list(range(150))
    assert {r.state for r in records} == {TrialState.COMPLETE}
    assert [r.value for r in records] == [n / 1000 for n in range(150)]
    assert all(len(r.epochs) == 3 for r in records)
    store.close()


def test_locked_sqlite_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store, study = open_study(f"sqlite:///{path}")
    impatient_file(store)
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    waits: list[str] = []

    def on_wait(error: BaseException, _seconds: float) -> None:
        waits.append(str(error))
        if len(waits) == 4:
            locker.execute("ROLLBACK")

    store.patience = Patience(60, on_wait=on_wait)
    assert Trials(store).create(study, draft(), "w", limit=None) is not None
    assert len(waits) >= 4
    assert all("locked" in text for text in waits)
    locker.close()
    store.close()


def test_a_store_that_stays_away_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store, study = open_study(f"sqlite:///{path}")
    impatient_file(store)
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError, match=r"within 0\.2 s, .*create a trial .*locked"):
        Trials(store.with_patience(0.2)).create(study, draft(), "w", limit=None)
    locker.execute("ROLLBACK")
    locker.close()
    assert Trials(store).counts(study).roots == 0
    store.close()


def impatient_file(store: Store) -> None:
    store.engine.dispose()
    event.listen(store.engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout = 20").close())


def test_full_disk_stops_with_a_name_and_loses_nothing(tmp_path: Path) -> None:
    store, study = open_study(f"sqlite:///{tmp_path / 'x.db'}")
    trials = Trials(store.with_patience(0.1))
    with store.engine.connect() as connection:
        pages = int(connection.execute(sa.text("PRAGMA page_count")).scalar_one())
    store.engine.dispose()
    limit = [pages + 12]
    event.listen(
        store.engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count = {limit[0]}").close()
    )
    finished: list[int] = []

    def fill(study: StudyHandle) -> None:
        while True:
            claim = trials.create(study, draft(len(finished)), "w", limit=None)
            assert claim is not None
            trials.finish(claim, TrialState.COMPLETE, 0.5, DONE)
            finished.append(claim.number)

    with pytest.raises(StoreUnavailableError, match="full"):
        fill(study)
    assert finished
    store.engine.dispose()
    limit[0] = 1_000_000
    complete = [r.number for r in trials.records(study) if r.state == TrialState.COMPLETE]
    assert complete == finished
    assert trials.create(study, draft(), "w", limit=None) is not None
    with store.engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
        leases = connection.execute(sa.select(sa.func.count()).select_from(t.at_leases)).scalar()
        assert leases == trials.counts(study).running
    store.close()
