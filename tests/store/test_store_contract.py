"""The contract of `store.trials`, the same on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
import pytest
import sqlalchemy as sa
from optuna.artifacts import ArtifactMeta
from optuna.distributions import CategoricalDistribution, FloatDistribution
from store_helpers import (
    CRASH,
    DONE,
    OUTCOME,
    SPACE,
    age,
    checkpoint,
    draft,
    epoch,
    open_study,
)

from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import StudyError, TrialLostError
from automl_transfer.store import tables as t
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.published import PublishedPage
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, StudyHandle, TrialDraft

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def opened(database_url: str) -> Iterator[tuple[Store, StudyHandle]]:
    store, study = open_study(database_url, max_attempts=3)
    yield store, study
    store.close()


@pytest.fixture
def store(opened: tuple[Store, StudyHandle]) -> Store:
    return opened[0]


@pytest.fixture
def study(opened: tuple[Store, StudyHandle]) -> StudyHandle:
    return opened[1]


@pytest.fixture
def trials(store: Store) -> Trials:
    return Trials(store)


def created(trials: Trials, study: StudyHandle, number: int = 0) -> Claim:
    claim = trials.create(study, draft(number), "worker 1", limit=None)
    assert claim is not None
    return claim


def lose_next_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next COMMIT reaches the database, but its answer does not reach us."""
    commit = store.engine.dialect.do_commit
    dbapi = store.engine.dialect.dbapi
    lost: list[bool] = []

    def once(connection: object) -> None:
        commit(connection)  # type: ignore[arg-type]
        if not lost:
            lost.append(True)
            raise dbapi.OperationalError("server closed the connection unexpectedly")  # type: ignore[union-attr]

    monkeypatch.setattr(store.engine.dialect, "do_commit", once)


class TestContract:
    def test_enqueued_trial_is_claimed_once_with_its_params(self, trials: Trials, study: StudyHandle) -> None:
        assert trials.enqueue(study, draft(3, "default")) == 0
        claim = trials.claim(study, "worker 1")
        assert claim is not None
        assert (claim.number, claim.root, claim.attempt, claim.label) == (0, 0, 0, "default")
        assert claim.strategy == draft(3).strategy
        assert claim.epochs == ()
        assert claim.checkpoint is None
        assert trials.claim(study, "worker 2") is None

    def test_oldest_waiting_trial_comes_first(self, trials: Trials, study: StudyHandle) -> None:
        for number in range(3):
            trials.enqueue(study, draft(number))
        claims = [trials.claim(study, "w") for _ in range(3)]
        assert [claim.number for claim in claims if claim] == [0, 1, 2]

    def test_once_is_used_once(self, trials: Trials, study: StudyHandle) -> None:
        assert trials.enqueue(study, draft(), once="profile") == 0
        assert trials.enqueue(study, draft(), once="profile") is None
        assert trials.enqueue(study, draft(), once="default") == 1

    def test_limit_counts_roots_not_continuations(self, trials: Trials, study: StudyHandle) -> None:
        claim = created(trials, study)
        trials.fail(claim, CRASH, retry=True)
        assert trials.create(study, draft(), "w", limit=2) is not None
        assert trials.create(study, draft(), "w", limit=2) is None

    def test_whole_life_reads_back(self, trials: Trials, study: StudyHandle) -> None:
        claim = created(trials, study, 5)
        for number in range(3):
            trials.record_epoch(claim, epoch(number, number / 10), number / 10)
        trials.record_epoch(claim, epoch(2, 0.7), 0.7)
        trials.finish(claim, TrialState.COMPLETE, 0.7, DONE, OUTCOME)
        (record,) = trials.records(study)
        assert record.state == TrialState.COMPLETE
        assert record.value == 0.7
        assert [e.accuracy for e in record.epochs] == [0.0, 0.1, 0.7]
        assert record.strategy == draft(5).strategy
        assert record.stop == DONE
        assert record.outcome == OUTCOME
        assert record.worker == "worker 1"
        assert record.started is not None
        assert record.finished is not None
        assert record.started <= record.finished

    def test_plain_optuna_sees_the_same_and_goes_on(
        self, trials: Trials, study: StudyHandle, database_url: str
    ) -> None:
        for number in range(12):
            claim = created(trials, study, number)
            trials.record_epoch(claim, epoch(0, 0.25), 0.25)
            trials.record_epoch(claim, epoch(1, 0.5), float("nan"))
            state = TrialState.PRUNED if number == 3 else TrialState.COMPLETE
            trials.finish(claim, state, number / 100, DONE, OUTCOME)
        running = created(trials, study, 20)
        failed = created(trials, study, 21)
        trials.fail(failed, CRASH, retry=True)
        url = database_url.replace("postgresql://", "postgresql+psycopg://")
        plain = optuna.load_study(
            study_name="s", storage=url, sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5)
        )
        seen = plain.trials
        assert [x.number for x in seen] == list(range(15))
        assert [x.state.name for x in seen[:4]] == ["COMPLETE", "COMPLETE", "COMPLETE", "PRUNED"]
        assert [x.state.name for x in seen[12:]] == ["RUNNING", "FAIL", "WAITING"]
        assert seen[5].params == draft(5).params
        assert seen[5].distributions == SPACE
        assert seen[5].value == 0.05
        assert seen[5].intermediate_values[0] == 0.25
        assert seen[5].intermediate_values[1] != seen[5].intermediate_values[1]
        assert seen[5].datetime_complete is not None
        assert seen[14].params == draft(21).params
        assert seen[13].user_attrs == {"stop": str(CRASH), "strategy": draft(21).strategy.describe()}
        assert seen[14].user_attrs == {
            "continues": "trial 13, attempt 2",
            "strategy": draft(21).strategy.describe(),
        }
        assert seen[5].user_attrs["seconds"] == OUTCOME.train_seconds
        assert plain.best_trial.number == 11

        def objective(trial: optuna.Trial) -> float:
            trial.suggest_float("learning_rate", 1e-5, 1.0, log=True)
            trial.suggest_int("freeze_depth", 0, 8)
            trial.suggest_categorical("optimizer", ["sgd", "adamw"])
            return 0.5

        plain.optimize(objective, n_trials=3)
        assert created(trials, study).number == len(plain.trials) - 1
        trials.finish(running, TrialState.COMPLETE, 0.5, DONE, OUTCOME)
        plain._storage.remove_session()  # type: ignore[attr-defined]
        plain._storage._backend.engine.dispose()  # type: ignore[attr-defined]

    def test_own_optuna_storage_works_on_the_same_connections(
        self, store: Store, trials: Trials, study: StudyHandle
    ) -> None:
        trials.finish(created(trials, study, 1), TrialState.COMPLETE, 0.5, DONE)
        loaded = optuna.load_study(study_name="s", storage=store.optuna_storage)
        loaded.set_user_attr("note", "hello")
        trial = loaded.ask()
        assert 0 <= trial.suggest_int("freeze_depth", 0, 8) <= 8
        loaded.tell(trial, 0.75)
        assert loaded.best_value == 0.75
        assert [r.strategy is None for r in trials.records(study)] == [False, True]
        loaded._storage.remove_session()

    def test_trials_of_others_are_left_alone(self, store: Store, trials: Trials, study: StudyHandle) -> None:
        loaded = optuna.load_study(study_name="s", storage=store.optuna_storage)
        loaded.enqueue_trial({"freeze_depth": 3})
        loaded.ask()
        loaded.enqueue_trial({"freeze_depth": 4})
        assert trials.claim(study, "w") is None
        assert trials.reap(study, grace=0) == []
        assert trials.counts(study).open_roots == 0
        loaded._storage.remove_session()

    def test_finish_twice_is_once(self, trials: Trials, study: StudyHandle) -> None:
        claim = created(trials, study)
        trials.finish(claim, TrialState.PRUNED, 0.5, DONE)
        trials.finish(claim, TrialState.COMPLETE, 0.9, DONE)
        (record,) = trials.records(study)
        assert (record.state, record.value) == (TrialState.PRUNED, 0.5)

    def test_finish_refuses_what_is_no_result(self, trials: Trials, study: StudyHandle) -> None:
        claim = created(trials, study)
        with pytest.raises(ValueError, match="COMPLETE or PRUNED"):
            trials.finish(claim, TrialState.FAIL, 0.5, DONE)
        with pytest.raises(ValueError, match="nan"):
            trials.finish(claim, TrialState.COMPLETE, float("nan"), DONE)
        with pytest.raises(ValueError, match="None"):
            trials.finish(claim, TrialState.COMPLETE, None, DONE)
        trials.finish(claim, TrialState.PRUNED, None, DONE)
        assert trials.records(study)[0].value is None

    def test_release_gives_the_same_trial_back_with_its_checkpoint(
        self, trials: Trials, study: StudyHandle
    ) -> None:
        claim = created(trials, study)
        for number in range(4):
            trials.record_epoch(claim, epoch(number), 0.5)
            if number < 3:
                trials.save_checkpoint_ref(claim, checkpoint(number))
        trials.release(claim)
        trials.release(claim)
        again = trials.claim(study, "worker 2")
        assert again is not None
        assert (again.trial_id, again.number, again.attempt) == (claim.trial_id, claim.number, 0)
        assert [e.epoch for e in again.epochs] == [0, 1, 2]
        assert again.checkpoint == checkpoint(2)
        with pytest.raises(TrialLostError):
            trials.record_epoch(claim, epoch(3), 0.5)
        trials.record_epoch(again, epoch(3), 0.5)
        trials.finish(again, TrialState.COMPLETE, 0.5, DONE)
        assert [e.epoch for e in trials.records(study)[0].epochs] == [0, 1, 2, 3]

    def test_failure_has_one_child_that_inherits_up_to_the_checkpoint(
        self, store: Store, trials: Trials, study: StudyHandle
    ) -> None:
        claim = created(trials, study, 4)
        for number in range(4):
            trials.record_epoch(claim, epoch(number, number / 10), number / 10)
        trials.save_checkpoint_ref(claim, checkpoint(1))
        store.optuna_storage.set_trial_system_attr(claim.trial_id, "completed_rung_0", 0.1)
        store.optuna_storage.set_trial_system_attr(claim.trial_id, "tpe:relative_params:0", "{}")
        assert trials.fail(claim, CRASH, retry=True) == 1
        assert trials.fail(claim, CRASH, retry=True) == 1
        child = trials.claim(study, "worker 2")
        assert child is not None
        assert (child.number, child.root, child.attempt) == (1, 0, 1)
        assert child.strategy == claim.strategy
        assert [e.epoch for e in child.epochs] == [0, 1]
        assert child.checkpoint == checkpoint(1)
        seen = store.optuna_storage.get_trial(child.trial_id)
        assert seen.params == draft(4).params
        assert seen.intermediate_values == {0: 0.0, 1: 0.1}
        assert seen.system_attrs == {"completed_rung_0": 0.1}
        assert trials.records(study)[0].stop == CRASH
        store.optuna_storage.remove_session()

    def test_attempts_are_finite(self, trials: Trials, study: StudyHandle) -> None:
        claim = created(trials, study)
        assert trials.fail(claim, CRASH, retry=True) == 1
        for child in (2, None):
            claim = trials.claim(study, "w")  # type: ignore[assignment]
            assert trials.fail(claim, CRASH, retry=True) == child
        counts = trials.counts(study)
        assert (counts.failed, counts.roots, counts.open_roots, counts.given_up) == (3, 1, 0, 1)

    def test_failure_without_retry_has_no_child(self, trials: Trials, study: StudyHandle) -> None:
        claim = created(trials, study)
        assert trials.fail(claim, CRASH, retry=False) is None
        assert trials.fail(claim, CRASH, retry=True) is None
        assert trials.claim(study, "w") is None

    def test_restart_clears_the_curve_and_is_counted_once(self, trials: Trials, study: StudyHandle) -> None:
        claim = created(trials, study)
        trials.record_epoch(claim, epoch(0), 0.5)
        trials.save_checkpoint_ref(claim, checkpoint(0))
        trials.release(claim)
        claim = trials.claim(study, "w")  # type: ignore[assignment]
        trials.restart(claim)
        trials.restart(claim)
        assert [record.restarts for record in trials.records(study)] == [1]
        trials.release(claim)
        again = trials.claim(study, "w")
        assert again is not None
        assert again.epochs == ()
        assert again.checkpoint is None

    def test_a_child_starts_from_the_newest_checkpoint(self, trials: Trials, study: StudyHandle) -> None:
        claim = created(trials, study)
        for number in range(3):
            trials.save_checkpoint_ref(claim, checkpoint(number))
        trials.fail(claim, CRASH, retry=True)
        child = trials.claim(study, "w")
        assert child is not None
        assert child.checkpoint == checkpoint(2)

    def test_beat_tells_which_are_lost(self, trials: Trials, study: StudyHandle) -> None:
        alive, gone = created(trials, study, 1), created(trials, study, 2)
        assert trials.beat([alive, gone]) == []
        trials.finish(gone, TrialState.COMPLETE, 0.5, DONE)
        assert trials.beat([alive, gone.token]) == [gone.token]
        assert trials.beat([]) == []

    def test_reaped_trial_is_fenced_and_continues_as_a_child(
        self, store: Store, trials: Trials, study: StudyHandle
    ) -> None:
        claim = created(trials, study)
        trials.record_epoch(claim, epoch(0), 0.5)
        trials.save_checkpoint_ref(claim, checkpoint(0))
        trials.record_epoch(claim, epoch(1), 0.6)
        assert trials.reap(study, grace=60) == []
        age(store, 61)
        assert trials.reap(study, grace=60) == []  # seen for the first time
        age(store, 31)
        (reaped,) = trials.reap(study, grace=60)
        assert (reaped.number, reaped.child, reaped.worker) == (0, 1, "worker 1")
        assert reaped.stop.kind == StopKind.CRASHED
        assert trials.reap(study, grace=60) == []
        for write in (
            lambda: trials.record_epoch(claim, epoch(2), 0.5),
            lambda: trials.save_checkpoint_ref(claim, checkpoint(2)),
            lambda: trials.finish(claim, TrialState.COMPLETE, 0.5, DONE),
            lambda: trials.release(claim),
            lambda: trials.restart(claim),
            lambda: trials.fail(claim, CRASH, retry=True),
        ):
            with pytest.raises(TrialLostError, match="trial 0"):
                write()
        assert trials.beat([claim]) == [claim.token]
        states = [r.state for r in trials.records(study)]
        assert states == [TrialState.FAIL, TrialState.WAITING]
        child = trials.claim(study, "worker 2")
        assert child is not None
        assert [e.epoch for e in child.epochs] == [0]

    def test_a_beat_clears_suspicion(self, store: Store, trials: Trials, study: StudyHandle) -> None:
        """After an outage longer than the grace period the living are not reaped."""
        claim = created(trials, study)
        age(store, 1000)
        assert trials.reap(study, grace=60) == []
        assert trials.beat([claim]) == []
        age(store, 45)
        assert trials.reap(study, grace=60) == []
        assert trials.reap(study, grace=60) == []
        trials.finish(claim, TrialState.COMPLETE, 0.5, DONE)

    def test_reaping_respects_the_attempts(self, trials: Trials, study: StudyHandle) -> None:
        created(trials, study)
        children = []
        for _ in range(4):
            children += [r.child for r in trials.reap(study, grace=0)]
            trials.claim(study, "w")
        assert children == [1, 2, None]
        assert trials.counts(study).given_up == 1

    def test_trial_of_ours_taken_by_something_else_is_reaped_by_age(
        self, store: Store, trials: Trials, study: StudyHandle
    ) -> None:
        trials.enqueue(study, draft(1))
        loaded = optuna.load_study(study_name="s", storage=store.optuna_storage)
        assert loaded.ask().number == 0
        assert trials.reap(study, grace=60) == []
        assert trials.counts(study).running == 1
        age(store, 61)
        (reaped,) = trials.reap(study, grace=60)
        assert reaped.child == 1
        assert "without a lease" in reaped.stop.detail
        loaded._storage.remove_session()

    def test_trial_finished_by_something_else_is_lost_to_its_worker(
        self, store: Store, trials: Trials, study: StudyHandle
    ) -> None:
        claim = created(trials, study)
        state = optuna.trial.TrialState.COMPLETE
        store.optuna_storage.set_trial_state_values(claim.trial_id, state, [0.25])
        assert trials.beat([claim]) == [claim.token]
        for write in (
            lambda: trials.record_epoch(claim, epoch(0), 0.5),
            lambda: trials.finish(claim, TrialState.COMPLETE, 0.5, DONE),
            lambda: trials.fail(claim, CRASH, retry=True),
        ):
            with pytest.raises(TrialLostError):
                write()
        assert trials.reap(study, grace=60) == []
        assert trials.workers(study) == []
        (record,) = trials.records(study)
        assert (record.state, record.value) == (TrialState.COMPLETE, 0.25)
        store.optuna_storage.remove_session()

    def test_lost_commits_do_no_harm(
        self, store: Store, trials: Trials, study: StudyHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trials.enqueue(study, draft())  # connections and the known space are warm
        warm = trials.claim(study, "w")
        assert warm is not None

        def twice(step: object) -> None:
            with monkeypatch.context() as patch:
                lose_next_commit(store, patch)
                step()  # type: ignore[operator]

        numbers: list[int | None] = []
        claims: list[Claim | None] = []
        twice(lambda: numbers.append(trials.enqueue(study, draft(1), once="x")))
        twice(lambda: claims.append(trials.create(study, draft(2), "w", limit=3)))
        assert numbers == [1]
        assert claims[0] is not None
        assert claims[0].number == 2
        twice(lambda: claims.append(trials.claim(study, "w")))
        assert claims[1] is not None
        assert claims[1].number == 1
        twice(lambda: trials.record_epoch(warm, epoch(0), 0.5))
        twice(lambda: trials.finish(claims[0], TrialState.COMPLETE, 0.5, DONE))  # type: ignore[arg-type]
        twice(lambda: numbers.append(trials.fail(claims[1], CRASH, retry=True)))  # type: ignore[arg-type]
        twice(lambda: trials.restart(warm))
        twice(lambda: trials.release(warm))
        assert numbers == [1, 3]
        states = [r.state.value for r in trials.records(study)]
        assert states == ["WAITING", "FAIL", "COMPLETE", "WAITING"]
        with store.engine.connect() as connection:
            restarts = connection.execute(sa.select(t.at_trials.c.restarts).order_by(t.at_trials.c.trial_id))
            assert list(restarts.scalars()) == [1, 0, 0, 0]
            assert connection.execute(sa.select(sa.func.count()).select_from(t.at_leases)).scalar() == 0

    def test_lost_commit_of_a_reaper_makes_one_child(
        self, store: Store, trials: Trials, study: StudyHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        created(trials, study)
        age(store, 100)
        assert trials.reap(study, grace=60) == []
        age(store, 100)
        commit = store.engine.dialect.do_commit
        dbapi = store.engine.dialect.dbapi

        def always_lost_once(connection: object, seen: list[int] = []) -> None:  # noqa: B006
            commit(connection)  # type: ignore[arg-type]
            seen.append(1)
            if len(seen) in (1, 3):
                raise dbapi.OperationalError("server closed the connection unexpectedly")  # type: ignore[union-attr]

        monkeypatch.setattr(store.engine.dialect, "do_commit", always_lost_once)
        (reaped,) = trials.reap(study, grace=60)
        assert reaped.child == 1
        assert len(trials.records(study)) == 2

    def test_counts_and_workers(self, store: Store, trials: Trials, study: StudyHandle) -> None:
        running = created(trials, study)
        trials.record_epoch(running, epoch(4), 0.5)
        trials.finish(created(trials, study), TrialState.COMPLETE, 0.5, DONE)
        trials.finish(created(trials, study), TrialState.PRUNED, 0.5, DONE)
        trials.fail(created(trials, study), CRASH, retry=True)
        trials.enqueue(study, draft())
        age(store, 30)
        counts = trials.counts(study)
        assert (counts.waiting, counts.running, counts.complete, counts.pruned, counts.failed) == (
            2,
            1,
            1,
            1,
            1,
        )
        assert (counts.roots, counts.open_roots, counts.given_up) == (5, 3, 0)
        (row,) = trials.workers(study)
        assert (row.worker, row.number, row.epoch) == ("worker 1", 0, 4)
        assert 30 <= row.beat_age < 90

    def test_empty_study_counts_nothing(self, trials: Trials, study: StudyHandle) -> None:
        counts = trials.counts(study)
        assert (counts.roots, counts.open_roots, counts.given_up) == (0, 0, 0)
        assert trials.records(study) == []
        assert trials.workers(study) == []

    def test_infinite_values_survive(self, trials: Trials, study: StudyHandle) -> None:
        claim = created(trials, study)
        trials.record_epoch(claim, epoch(0), float("-inf"))
        trials.finish(claim, TrialState.COMPLETE, float("inf"), DONE)
        assert trials.records(study)[0].value == float("inf")

    @pytest.mark.parametrize(
        "changed",
        [
            CategoricalDistribution(["sgd", "adamw", "lion"]),
            FloatDistribution(0, 1),
        ],
    )
    def test_a_parameter_keeps_its_distribution(
        self, store: Store, trials: Trials, study: StudyHandle, changed: object
    ) -> None:
        created(trials, study)
        value = "lion" if isinstance(changed, CategoricalDistribution) else 0.5
        other = TrialDraft(Strategy(), {"optimizer": value}, {"optimizer": changed})  # type: ignore[dict-item]
        for fresh in (trials, Trials(store)):
            with pytest.raises(StudyError, match="optimizer must keep its distribution"):
                fresh.create(study, other, "w", limit=None)
        assert len(trials.records(study)) == 1

    def test_the_attribute_is_short_whatever_is_said(
        self, store: Store, trials: Trials, study: StudyHandle
    ) -> None:
        strategy = Strategy(source="checkpoint/timm/resnet18@" + "Gewichte/größtes Netz 权重/" * 10)
        claim = trials.create(study, TrialDraft(strategy, {}, {}), "w" * 500, limit=None)
        assert claim is not None
        trials.fail(claim, StopReason(kind=StopKind.BUG, detail="数据😀" * 500), retry=False)
        attributes = store.optuna_storage.get_trial(claim.trial_id).user_attrs
        assert sorted(attributes) == ["stop", "strategy"]
        assert max(map(len, attributes.values())) == 1024
        assert attributes["stop"].startswith("bug: 数据")
        assert attributes["stop"].endswith("…")
        store.optuna_storage.remove_session()

    def test_artifacts_are_named_with_the_end_as_optuna_names_them(
        self, store: Store, trials: Trials, study: StudyHandle
    ) -> None:
        shown = ArtifactMeta("0a-1", "curve.png", "image/png", None)
        done, failed = created(trials, study), created(trials, study)
        trials.finish(done, TrialState.COMPLETE, 0.5, DONE, OUTCOME, [shown])
        trials.finish(done, TrialState.COMPLETE, 0.5, DONE, OUTCOME, [ArtifactMeta("0a-2", "", "", None)])
        child = trials.fail(failed, CRASH, retry=True, artifacts=[shown])
        seen = optuna.load_study(study_name="s", storage=store.optuna_storage).trials
        named = [optuna.artifacts.get_all_artifact_meta(t, storage=store.optuna_storage) for t in seen]
        assert named == [[shown], [shown], []]
        assert child == 2
        store.optuna_storage.remove_session()

    def test_a_deleted_study_takes_everything_with_it(
        self, store: Store, trials: Trials, study: StudyHandle
    ) -> None:
        claim = created(trials, study)
        trials.record_epoch(claim, epoch(0), 0.5)
        trials.save_checkpoint_ref(claim, checkpoint(0))
        store.delete("s")
        with pytest.raises(TrialLostError):
            trials.record_epoch(claim, epoch(1), 0.5)
        assert trials.beat([claim]) == [claim.token]
        with pytest.raises(StudyError, match="deleted"):
            trials.create(study, draft(), "w", limit=None)
        with pytest.raises(StudyError, match="deleted"):
            trials.claim(study, "w")
        self.assert_no_rows(store)

    def test_a_study_of_the_same_name_or_number_is_another_one(
        self, store: Store, trials: Trials, study: StudyHandle
    ) -> None:
        """SQLite gives numbers again: who still holds the deleted study must not write to the new one."""
        store.delete("s")
        new = store.create_study(study.spec, study.task, artifact_url="artifacts", sources={"a": "f" * 64})
        assert new.identity != study.identity
        trials.enqueue(new, draft())
        profile = ProfileRecord(source="a", normalise="source", images=1, seconds=0.1, cuts=())
        for call in (
            lambda: trials.enqueue(study, draft(1)),
            lambda: trials.create(study, draft(1), "w"),
            lambda: trials.claim(study, "w"),
            lambda: Evidence(store).add_profile(study, profile),
            lambda: PublishedPage(store, study).write("", {}, "value"),
            lambda: store.again(study),
        ):
            with pytest.raises(StudyError, match="deleted while it was in use"):
                call()
        assert [r.state for r in trials.records(new)] == [TrialState.WAITING]
        assert Evidence(store).profiles(new) == []
        assert store.find(identity=study.identity) is None
        assert store.study(new.identity) == store.again(new) == new
        store.rename("s", "renamed")
        assert store.again(new).name == "renamed"
        assert trials.claim(new, "w") is not None

    def test_a_study_deleted_by_plain_optuna_leaves_no_rows_of_ours(
        self, store: Store, trials: Trials, study: StudyHandle, database_url: str
    ) -> None:
        claim = created(trials, study)
        trials.record_epoch(claim, epoch(0), 0.5)
        trials.save_checkpoint_ref(claim, checkpoint(0))
        plain = optuna.storages.RDBStorage(database_url.replace("postgresql://", "postgresql+psycopg://"))
        plain.delete_study(study.study_id)
        # Row numbers are used again on SQLite: nothing of the old study may stick to the new one.
        new = optuna.create_study(study_name="other", storage=plain)
        new.ask()
        plain.remove_session()
        plain.engine.dispose()
        self.assert_no_rows(store)
        (summary,) = store.studies()
        assert (summary.name, summary.ours, summary.trials) == ("other", False, {"RUNNING": 1})
        assert trials.records(summary.study_id)[0].epochs == ()

    @staticmethod
    def assert_no_rows(store: Store) -> None:
        with store.engine.connect() as connection:
            for table in t.Base.metadata.tables.values():
                assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0, table
