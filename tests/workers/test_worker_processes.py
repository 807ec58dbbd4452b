"""Real worker processes on real databases: nothing is lost, nothing runs twice, and the bits agree."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_helpers import Process, strategy, tiny_study, until

from automl_transfer.domain.records import StopKind, TrialState
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.worker import Worker

Start = Callable[..., Process]

LONG = 200
"""Epochs enough to send a signal in between; each takes about 10 ms."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, str]:
    """Value and digest of the long trial, trained in one go with one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("undisturbed")
    with tiny_study(f"sqlite:///{folder / 's.db'}", folder, [strategy()], max_epochs=LONG) as study:
        Worker(study.store, study.handle, study.bench, stop=StopRequest()).run()
        (record,) = study.records()
    torch.set_num_threads(before)
    assert record.value is not None
    assert record.outcome is not None
    assert record.outcome.weights_sha256 is not None
    return record.value, record.outcome.weights_sha256


def test_a_worker_finishes_a_study_exactly(database_url: str, tmp_path: Path, start: Start) -> None:
    with tiny_study(database_url, tmp_path, [strategy(1e-3), strategy(1e-2)], trials=4) as study:
        first = start(database_url, "worker", "tiny", "--threads", "1", "--log-format", "json")
        assert first.wait() == 0, first.said()
        counts = study.trials.counts(study.handle)
        assert (counts.complete, counts.roots, counts.open_roots, counts.failed) == (4, 4, 0, 0)
        lines = [json.loads(line) for line in first.said().splitlines() if line.startswith("{")]
        begun = Counter(line["root"] for line in lines if line["message"].startswith("starts"))
        assert begun == {0: 1, 1: 1, 2: 1, 3: 1}
        assert {(line["study"], line["attempt"]) for line in lines if line["trial"] is not None} == {
            ("tiny", 0)
        }


def test_no_two_of_several_workers_train_the_same(database_url: str, tmp_path: Path, start: Start) -> None:
    """Six strategies, twenty trials and three workers that draw at once: each is trained once, then it ends."""
    space = {"learning_rate": 1e-3, "batch": (16, 32, 64), "schedule": ("cosine", "constant")}
    tried = strategy().model_copy(update={"batch": 32})
    settings = {"trials": 20, "sampler": "prior", "max_epochs": 1}
    with tiny_study(database_url, tmp_path, [tried], extra_space=space, **settings) as study:
        workers = [start(database_url, "worker", "tiny", "--threads", "1") for _ in range(3)]
        assert [each.wait() for each in workers] == [0, 0, 0], [each.said()[-2000:] for each in workers]
        strategies = Counter(r.strategy.key() for r in study.records() if r.strategy is not None)
        assert set(strategies.values()) == {1}
        assert len(strategies) == 6
        assert any("its 6 strategies were tried" in each.said() for each in workers)


def test_sigterm_gives_the_same_trial_back(
    database_url: str, tmp_path: Path, start: Start, undisturbed: tuple[float, str]
) -> None:
    with tiny_study(database_url, tmp_path, [strategy()], max_epochs=LONG) as study:
        first = start(database_url, "worker", "tiny", "--threads", "1")
        until(lambda: study.epoch_of() >= 3, first)
        first.signal(signal.SIGTERM)
        assert first.wait() == 130, first.said()
        (record,) = study.records()
        assert record.state is TrialState.WAITING
        assert record.stop is not None
        assert record.stop.kind is StopKind.RELEASED
        second = start(database_url, "worker", "tiny", "--threads", "1")
        assert second.wait() == 0, second.said()
        assert "goes on after epoch" in second.said()
        (record,) = study.records()
    assert (record.number, record.attempt, record.state) == (0, 0, TrialState.COMPLETE)
    assert record.outcome is not None
    assert record.outcome.identical
    assert [e.epoch for e in record.epochs] == list(range(1, LONG + 1))
    assert (record.value, record.outcome.weights_sha256) == undisturbed


def test_sigkill_has_exactly_one_child_which_goes_on(
    database_url: str, tmp_path: Path, start: Start, undisturbed: tuple[float, str]
) -> None:
    with tiny_study(database_url, tmp_path, [strategy()], max_epochs=LONG) as study:
        first = start(database_url, "worker", "tiny", "--threads", "1", "--checkpoint", "0.1")
        until(lambda: any((tmp_path / "artifacts").glob("*/trial-000000/*")), first)
        until(lambda: study.epoch_of() >= 40, first)
        first.signal(signal.SIGKILL)
        first.wait()
        second = start(database_url, "worker", "tiny", "--threads", "1")
        assert second.wait() == 0, second.said()
        assert "goes on after epoch" in second.said()
        lost, child = study.records()
    assert lost.state is TrialState.FAIL
    assert lost.stop is not None
    assert lost.stop.kind is StopKind.CRASHED
    assert (child.state, child.root, child.attempt) == (TrialState.COMPLETE, 0, 1)
    assert [e.epoch for e in child.epochs] == list(range(1, LONG + 1))
    assert child.outcome is not None
    assert (child.value, child.outcome.weights_sha256) == undisturbed


def test_a_second_signal_ends_a_worker_at_once(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy()], max_epochs=10_000) as study:
        first = start(url, "worker", "tiny", "--threads", "1")
        until(lambda: study.epoch_of() >= 1, first)
        with study.store.engine.begin():  # holds the file, so that nothing can be released meanwhile
            first.signal(signal.SIGINT)
            first.signal(signal.SIGTERM)
            assert first.wait() == 130
        assert study.records()[0].state is TrialState.RUNNING


def test_ctrl_c_ends_all_launched_workers_in_order(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy(1e-3), strategy(1e-2)], max_epochs=10_000) as study:
        launch = start(url, "launch", "tiny", "--workers", "2", "--threads", "1")
        until(lambda: len({w.worker for w in study.trials.workers(study.handle)}) == 2, launch)
        launch.signal(signal.SIGINT)
        assert launch.wait() == 130, launch.said()
        assert [r.state for r in study.records()] == [TrialState.WAITING] * 2
        assert [r.attempt for r in study.records()] == [0, 0]


def test_launched_workers_finish_a_study(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy(1e-3)], trials=6) as study:
        launch = start(url, "launch", "tiny", "--workers", "2")
        assert launch.wait() == 0, launch.said()
        counts = study.trials.counts(study.handle)
        assert (counts.complete, counts.roots, counts.open_roots, counts.failed) == (6, 6, 0, 0)
        assert "the study is finished" in launch.said()
    assert not list((tmp_path / "spool").rglob("*.json"))
