"""The worker's loop in this process: results that could not be told, refusals, low disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import forge
import pytest
from worker_helpers import SPACE, TASK, TinyStudy, strategy, tiny_study

from automl_transfer.api.search import SearchEvents, run_study
from automl_transfer.domain.records import EpochResult, StopKind, TrialState
from automl_transfer.domain.spec import StudySpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import ConfigurationError, OutputError, StoreUnavailableError, StudyError
from automl_transfer.search.workbench import Workbench
from automl_transfer.store import engine
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import Claim, StudyHandle
from automl_transfer.workers.launching import LaunchOptions, run_workers
from automl_transfer.workers.sharing import FIRST, FirstElsewhere, SharedWork
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.spool import spool_folder
from automl_transfer.workers.worker import SilentObserver, Worker, WorkerOptions


class AtEpoch(SilentObserver):
    """Does something once an epoch is stored."""

    def __init__(self, epoch: int, action: object) -> None:
        self.epoch, self.action = epoch, action

    def on_epoch(self, claim: Claim, result: EpochResult) -> None:
        if result.epoch == self.epoch:
            self.action()  # type: ignore[operator]


def run(study: TinyStudy, observer: SilentObserver | None = None, **options: object) -> object:
    settings = WorkerOptions(**options)  # type: ignore[arg-type]
    return Worker(
        study.store, study.handle, study.bench, stop=StopRequest(), options=settings, observer=observer
    ).run()


def spooled(study: TinyStudy) -> list[Path]:
    return list(spool_folder(study.store, study.handle).glob("*.json"))


@pytest.fixture
def untold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyStudy]:
    """A study whose trial is done, with its result in the spool: another connection held the store."""
    monkeypatch.setattr(engine, "SQLITE_BUSY_SECONDS", 0.1)
    url = f"sqlite:///{tmp_path / 's.db'}"
    with (
        tiny_study(url, tmp_path, [strategy()], patience=0.2) as study,
        Store.open(StoreURL.parse(url)) as other,
    ):
        held = other.engine.connect()
        with pytest.raises(StoreUnavailableError):
            run(study, AtEpoch(3, held.begin))
        held.close()
        yield study


def test_a_result_that_cannot_be_told_on_sqlite_is_told_later(untold: TinyStudy) -> None:
    assert len(spooled(untold)) == 1
    assert [r.state for r in untold.records()] == [TrialState.RUNNING]
    run(untold)
    (record,) = untold.records()
    assert (record.state, record.attempt, len(record.epochs)) == (TrialState.COMPLETE, 0, 3)
    assert not spooled(untold)


def test_a_result_that_cannot_be_told_on_postgresql_is_told_later(
    tmp_path: Path, postgres_url: str, postgres_server: object
) -> None:
    with tiny_study(postgres_url, tmp_path, [strategy()], patience=0.2) as study:
        try:
            with pytest.raises(StoreUnavailableError):
                run(study, AtEpoch(3, postgres_server.stop))  # type: ignore[attr-defined]
        finally:
            postgres_server.start()  # type: ignore[attr-defined]
        assert len(spooled(study)) == 1
        patient = study.store.with_patience(30)
        study.store = patient
        run(study)
        (record,) = study.records()
        assert (record.state, record.attempt, len(record.epochs)) == (TrialState.COMPLETE, 0, 3)
        assert not spooled(study)


def test_a_launcher_hands_in_what_the_last_of_its_workers_could_not(untold: TinyStudy) -> None:
    """The trial had failed with its worker, while its result lay in the spool."""
    stop = StopRequest()
    stop.ask("enough")
    assert run_workers(untold.store, untold.handle, stop, LaunchOptions(1)) == "enough"
    assert [(r.state, r.attempt) for r in untold.records()] == [(TrialState.COMPLETE, 0)]
    assert not spooled(untold)


def test_a_spooled_result_of_a_reaped_trial_is_dropped(untold: TinyStudy) -> None:
    (row,) = untold.trials.workers(untold.handle)
    assert len(untold.trials.reap(untold.handle, grace=10, dead=[row.worker])) == 1
    run(untold)
    assert [r.state for r in untold.records()] == [TrialState.FAIL, TrialState.COMPLETE]
    assert not spooled(untold)


def test_a_worker_that_cannot_begin_gives_its_claim_back(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:

        def refuse() -> Workbench:
            raise StudyError("the data differ")

        with pytest.raises(StudyError, match="the data differ"):
            Worker(study.store, study.handle, refuse, stop=StopRequest()).run()
        (record,) = study.records()
    assert (record.state, record.attempt) == (TrialState.WAITING, 0)
    assert record.stop is not None
    assert record.stop.kind is StopKind.RELEASED
    assert "the data differ" in record.stop.detail


def test_a_worker_that_lacks_a_method_of_the_study_gives_its_claim_back(tmp_path: Path) -> None:
    """Each strategy failed for good, one after the other, and the budget was used up."""
    plugin = {"transfer_depth": 2, "rest_init": "nowhere"}
    item = Strategy.model_validate({**strategy().model_dump(), **plugin}).canonical()
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [item], extra_space=plugin) as study:
        with pytest.raises(ConfigurationError, match=r"study tiny: space.rest_init: .* got 'nowhere'"):
            run(study)
        (record,) = study.records()
    assert (record.state, record.attempt) == (TrialState.WAITING, 0)


def test_no_trial_starts_on_a_full_disk(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        with pytest.raises(OutputError, match="bytes free"):
            run(study, min_free_bytes=2**62)
        assert [r.state for r in study.records()] == [TrialState.WAITING]


def test_a_worker_leaves_after_its_number_of_trials_or_when_idle(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy(), strategy(1e-2)]) as study:
        report = run(study, max_trials=1)
        assert (report.trials, report.finished) == (1, False)  # type: ignore[attr-defined]
        elsewhere = study.trials.claim(study.handle, "elsewhere/1-1/a")
        assert elsewhere is not None
        report = run(study, idle_exit=0.01, poll=0.01)
        assert (report.trials, report.reason) == (0, "there was nothing to do")  # type: ignore[attr-defined]


def test_a_checkpoint_that_is_gone_starts_the_trial_over(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        stop = StopRequest()
        ask = AtEpoch(2, lambda: stop.ask("test"))
        Worker(study.store, study.handle, study.bench, stop=stop, observer=ask).run()
        (record,) = study.records()
        assert (record.state, len(record.epochs)) == (TrialState.WAITING, 2)
        (state,) = (tmp_path / "artifacts" / study.handle.identity / "trial-000000").glob("state*")
        state.rename(tmp_path / "moved away")
        run(study)
        (record,) = study.records()
        assert (record.state, [e.epoch for e in record.epochs]) == (TrialState.COMPLETE, [1, 2, 3])
        assert record.restarts == 1
        status = subprocess.run(
            [forge.command(), "status", "tiny", "--storage", study.url],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "started over, because their checkpoint was gone: trials 0\n" in status.stdout


def test_finished_trials_leave_no_checkpoint(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        run(study, checkpoint=0.0)
        left = sorted(p.name for p in (tmp_path / "artifacts").glob("*/trial-*/*"))
    assert left == ["model-0.safetensors"]


def test_no_worker_comes_between_a_new_study_and_its_first_answers(tmp_path: Path) -> None:
    """A worker that has waited for the study would take up its budget before anybody has profiled it."""
    url = StoreURL.parse(f"sqlite:///{tmp_path / 's.db'}")
    said: list[str] = []
    enough = StopRequest()

    class WorksAtOnce(SearchEvents):
        def on_study(self, handle: StudyHandle, trials: Trials) -> None:
            stop = StopRequest()
            with Store.open(url) as store:
                first = FirstElsewhere(store, handle, stop.ask)
                worker = Worker(store, handle, lambda: pytest.fail("it works"), stop=stop, before_draw=first)
                said.append(worker.run().reason)
            enough.ask("enough")

    spec = StudySpec(name="new", task=TASK, space=SPACE)
    found = run_study(
        spec, storage=url, output=tmp_path / "out", device="cpu", cache_root=tmp_path / "c", stop=enough,
        events=WorksAtOnce(),
    )  # fmt: skip
    assert (said, found.reason) == (["another process makes the first answers"], "enough")
    with Store.open(url) as store, store.engine.connect() as connection:  # who makes them gave that back
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM at_claims").scalar() == 0


def test_who_loses_a_first_answer_to_another_worker_waits_for_the_next_one(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, trials=2, max_epochs=1) as study:
        rates = iter((0.01, 0.02))

        def first_answers() -> bool:
            if (rate := next(rates, None)) is None:
                return False
            study.enqueue([strategy(rate)])
            if rate == 0.01:  # another worker is quicker
                assert study.trials.claim(study.handle, "another") is not None
            return True

        stop, once = StopRequest(), WorkerOptions(max_trials=1)
        Worker(
            study.store, study.handle, study.bench, stop=stop, options=once, before_draw=first_answers
        ).run()
        assert [record.strategy for record in study.records()] == [strategy(0.01), strategy(0.02)]


def test_a_worker_waits_for_the_first_answers_that_another_process_makes(tmp_path: Path) -> None:
    stop = StopRequest()
    with (
        tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, trials=2, max_epochs=1) as study,
        SharedWork(study.store, study.handle) as search,
    ):
        assert search.take(FIRST)
        said: list[str] = []

        def on_wait(reason: str) -> None:
            said.append(reason)
            if len(said) == 2:
                assert study.records() == []  # its two trials are still there
                study.enqueue([strategy(0.02)])
                search.give_back(FIRST)

        first = FirstElsewhere(study.store, study.handle, on_wait, poll=0.01)
        Worker(study.store, study.handle, study.bench, stop=stop, before_draw=first).run()
        assert said == ["another process makes the first answers"] * 2
        records = study.records()
        assert [record.state for record in records] == [TrialState.COMPLETE] * 2
        assert records[0].strategy == strategy(0.02)
        assert search.take(FIRST)
    with (
        tiny_study(f"sqlite:///{tmp_path / 't.db'}", tmp_path, trials=1) as study,
        SharedWork(study.store, study.handle) as search,
    ):
        assert search.take(FIRST)
        first = FirstElsewhere(study.store, study.handle, lambda reason: stop.ask("enough"))
        report = Worker(study.store, study.handle, study.bench, stop=stop, before_draw=first).run()
        assert (report.reason, study.records()) == ("enough", [])
