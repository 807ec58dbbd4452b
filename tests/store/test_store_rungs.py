"""Pausing at rungs and going on from there: exactly once, on both databases, seen once by everyone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from store_helpers import OUTCOME, TASK, draft, epoch, open_study, spec

from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.errors import StudyError, TrialLostError
from automl_transfer.store import rungs as rungs_module
from automl_transfer.store import schema
from automl_transfer.store import tables as t
from automl_transfer.store.files import state_key
from automl_transfer.store.rungs import Rungs
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import PAUSED, CheckpointRef, Claim, Mark, StudyHandle

WAITS = StopReason(kind=StopKind.PAUSED, detail="after epoch 1 of 9")
ENDED = "others were better there"


@pytest.fixture
def opened(database_url: str) -> Iterator[tuple[Store, StudyHandle]]:
    store, study = open_study(database_url)
    with store:
        yield store, study


def mark(claim: Claim, value: float, rung: int = 1) -> Mark:
    return Mark(claim.root, rung, "fresh head", value, 1.0, 2.5)


def begun(store: Store, study: StudyHandle, number: int = 0, value: float = 0.5) -> Claim:
    """A trial that stands at its first rung, with its checkpoint."""
    trials = Trials(store)
    claim = trials.create(study, draft(number), "w")
    assert claim is not None
    trials.record_epoch(claim, epoch(1, value), value)
    key = state_key(claim.root, claim.attempt, 1)
    trials.save_checkpoint_ref(claim, CheckpointRef(1, key, "c" * 64, 1000))
    return claim


def paused(store: Store, study: StudyHandle, number: int = 0, value: float = 0.5) -> tuple[Claim, Mark]:
    claim = begun(store, study, number, value)
    at = mark(claim, value)
    Rungs(store, study).pause(claim, at, WAITS, OUTCOME)
    return claim, at


def test_a_paused_trial_waits_for_nobody_and_is_no_unfinished_business(
    opened: tuple[Store, StudyHandle],
) -> None:
    store, study = opened
    paused(store, study)
    trials = Trials(store)
    assert trials.claim(study, "other") is None
    counts = trials.counts(study)
    assert (counts.paused, counts.waiting, counts.open_roots, counts.given_up) == (1, 0, 0, 0)
    (entry,) = store.studies()
    assert (entry.trials["WAITING"], entry.trials[PAUSED]) == (0, 1)
    assert trials.workers(study) == []


def test_whoever_reads_strategies_sees_it_once_where_it_stopped(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    history = SamplerHistory(store, study)
    claim = begun(store, study, value=0.75)
    assert [each.state.name for each in history.trials()] == ["RUNNING"]
    Rungs(store, study).pause(claim, mark(claim, 0.75), WAITS, OUTCOME)
    (record,) = Trials(store).records(study)
    assert (record.state, record.value, record.is_paused) == (TrialState.PRUNED, 0.75, True)
    assert record.finished is not None
    assert record.outcome == OUTCOME
    (seen,) = history.trials()
    assert (seen.state.name, seen.value, seen.intermediate_values) == ("PRUNED", 0.75, {1: 0.75})
    # Optuna's own tools see one trial that is not finished, and why.
    (theirs,) = optuna.load_study(study_name=study.name, storage=store.optuna_storage).trials
    assert theirs.state.name == "WAITING"
    assert theirs.user_attrs["stop"] == "paused: after epoch 1 of 9"


def test_it_goes_on_with_its_curve_and_its_checkpoint(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    history = SamplerHistory(store, study)
    claim, at = paused(store, study)
    assert [each.state.name for each in history.trials()] == ["PRUNED"]
    again = Rungs(store, study).promote(at, "other")
    assert again is not None
    assert (again.trial_id, again.number, again.root, again.attempt) == (
        claim.trial_id, claim.number, claim.root, 0,
    )  # fmt: skip
    assert [each.epoch for each in again.epochs] == [1]
    assert again.checkpoint is not None
    assert again.checkpoint.epoch == 1
    assert [each.state.name for each in history.trials()] == ["RUNNING"]
    trials = Trials(store)
    trials.record_epoch(again, epoch(2, 0.9), 0.9)
    trials.finish(again, TrialState.COMPLETE, 0.9, StopReason(kind=StopKind.COMPLETED), OUTCOME)
    assert [(each.state.name, each.value) for each in history.trials()] == [("COMPLETE", 0.9)]
    (record,) = trials.records(study)
    assert (record.state, record.is_paused, len(record.epochs)) == (TrialState.COMPLETE, False, 2)
    with pytest.raises(TrialLostError):
        trials.record_epoch(claim, epoch(2, 0.1), 0.1)  # the claim from before its pause


def test_a_history_that_looked_away_meanwhile_sees_the_end(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    history = SamplerHistory(store, study)
    _, at = paused(store, study)
    assert [each.state.name for each in history.trials()] == ["PRUNED"]
    again = Rungs(store, study).promote(at, "other")
    assert again is not None
    Trials(store).finish(again, TrialState.COMPLETE, 0.9, StopReason(kind=StopKind.COMPLETED), OUTCOME)
    assert [each.state.name for each in history.trials()] == ["COMPLETE"]


def test_what_a_read_that_broke_off_had_seen_is_seen_again(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    history = SamplerHistory(store, study)
    _, at = paused(store, study)
    assert [each.state.name for each in history.trials()] == ["PRUNED"]
    assert Rungs(store, study).promote(at, "other") is not None

    def fail(*arguments: object) -> None:
        if "trial_params" in str(arguments[2]):
            raise RuntimeError("the connection is gone")

    sa.event.listen(store.engine, "before_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="is gone"):
        history.trials()
    sa.event.remove(store.engine, "before_cursor_execute", fail)
    assert [each.state.name for each in history.trials()] == ["RUNNING"]


def test_of_many_that_want_it_exactly_one_goes_on(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    marks = [paused(store, study, number)[1] for number in range(6)]
    taken: list[int] = []
    ready = threading.Barrier(8)

    def take() -> None:
        mine = Rungs(store, study)
        ready.wait()
        found = [mine.promote(each, threading.current_thread().name) for each in marks]
        taken.extend(claim.root for claim in found if claim is not None)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [each.root for each in marks]
    assert Trials(store).counts(study).running == 6


def test_news_are_told_once_and_who_went_on_is_news(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    rungs, other = Rungs(store, study), Rungs(store, study)
    assert rungs.news() == []
    _, at = paused(store, study)
    assert rungs.news() == [at]
    assert rungs.news() == []
    assert rungs.knows(at.root, 1)
    assert not rungs.knows(at.root, 3)
    assert other.promote(at, "other") is not None
    (went,) = rungs.news()
    assert (went.root, went.paused) == (at.root, False)
    assert rungs.promote(at, "late") is None


def test_what_trains_on_at_its_rung_was_there(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    claim = begun(store, study)
    rungs = Rungs(store, study)
    for _ in range(2):  # the answer of the first may be lost
        rungs.go_on(claim, mark(claim, 0.5))
    (seen,) = Rungs(store, study).news()
    assert not seen.paused
    assert Trials(store).counts(study).running == 1


def test_the_lost_claim_of_a_reaped_trial_can_neither_pause_nor_go_on(
    opened: tuple[Store, StudyHandle],
) -> None:
    store, study = opened
    claim = begun(store, study)
    Trials(store).reap(study, grace=60, dead=["w"])
    rungs = Rungs(store, study)
    for attempt in (
        lambda: rungs.pause(claim, mark(claim, 0.5), WAITS, OUTCOME),
        lambda: rungs.go_on(claim, mark(claim, 0.5)),
    ):
        with pytest.raises(TrialLostError):
            attempt()
    assert Rungs(store, study).news() == []


def test_what_does_not_go_on_ends_with_what_it_had(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    claim, _ = paused(store, study, value=0.75)
    assert Rungs(store, study).end(ENDED) == [claim.root]
    (record,) = Trials(store).records(study)
    assert (record.state, record.value, record.is_paused) == (TrialState.PRUNED, 0.75, False)
    assert str(record.stop) == f"pruned: paused after epoch 1; {ENDED}"
    (theirs,) = optuna.load_study(study_name=study.name, storage=store.optuna_storage).trials
    assert (theirs.state.name, theirs.value) == ("PRUNED", 0.75)
    assert store.read(lambda c: c.execute(sa.select(t.at_checkpoints)).all(), "look") == []
    assert Rungs(store, study).end(ENDED) == []


def test_the_least_promising_end_where_checkpoints_take_too_much(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    for number, value in enumerate((0.5, 0.9, 0.7)):
        paused(store, study, number, value)
    rungs = Rungs(store, study)
    assert rungs.end("room", keep_bytes=3000) == []
    assert rungs.end("room", keep_bytes=2500) == [0]
    states = {r.number: r.is_paused for r in Trials(store).records(study)}
    assert states == {0: False, 1: True, 2: True}


def test_only_the_newest_checkpoint_of_a_trial_takes_room(opened: tuple[Store, StudyHandle]) -> None:
    """Files of those before are dropped at once."""
    store, study = opened
    checkpoints = t.at_checkpoints
    trials, claims = Trials(store), [begun(store, study, number) for number in range(2)]
    for claim in claims:
        key = state_key(claim.root, claim.attempt, 3)
        trials.save_checkpoint_ref(claim, CheckpointRef(3, key, "c" * 64, 1000))
    kept = sa.select(checkpoints.c.trial_id, checkpoints.c.epoch).order_by(checkpoints.c.trial_id)
    found = store.read(lambda c: c.execute(kept).all(), "look")
    assert [tuple(row) for row in found] == [(claim.trial_id, 3) for claim in claims]
    for claim in claims:
        Rungs(store, study).pause(claim, mark(claim, 0.5, 3), WAITS, OUTCOME)
        for before in (1, 2):  # as older programs left them
            row = {"trial_id": claim.trial_id, "epoch": before, "uri": "", "sha256": "", "conditions": "{}"}
            with store.engine.begin() as connection:
                connection.execute(sa.insert(checkpoints).values(row | {"bytes": 9000}))
    rungs = Rungs(store, study)
    assert rungs.end("room", keep_bytes=2000) == []
    assert rungs.end("room", keep_bytes=1500) == [claims[1].root]


def test_one_that_went_on_meanwhile_does_not_end(opened: tuple[Store, StudyHandle]) -> None:
    """Between looking for the least promising one and ending it, another worker took it, and gave it back."""
    store, study = opened
    _, at = paused(store, study)
    seen = store.read(lambda c: c.execute(sa.select(t.at_rungs)).one(), "look")
    again = Rungs(store, study).promote(at, "other")
    assert again is not None
    trials = Trials(store)
    trials.release(again)
    assert not store.write(lambda c: rungs_module._end(c, seen, "room"), "end")
    claimed = trials.claim(study, "third")
    assert claimed is not None
    assert claimed.checkpoint is not None


def test_one_that_no_program_can_read_fails_and_one_of_a_newer_stays(
    opened: tuple[Store, StudyHandle],
) -> None:
    store, study = opened
    (broken, at), (newer, later) = paused(store, study, 0), paused(store, study, 1)
    with store.engine.begin() as connection:
        for claim, text in ((broken, "nothing"), (newer, '{"space": 999, "set": {"fog": 1}}')):
            row = t.at_trials.c.trial_id == claim.trial_id
            connection.execute(sa.update(t.at_trials).where(row).values(strategy=text))
    rungs = Rungs(store, study)
    assert len(rungs.news()) == 2
    assert rungs.promote(at, "w") is None
    assert rungs.promote(later, "w") is None
    assert rungs.news() == []
    counts = Trials(store).counts(study)
    assert (counts.failed, counts.paused) == (1, 1)
    assert rungs.end(ENDED) == []  # it was to go on: a newer program does that
    assert Rungs(store, study).promote(later, "w") is None
    assert Trials(store).counts(study).paused == 1


def test_a_paused_trial_is_none_that_waits_for_a_newer_program(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    paused(store, study, 0)
    trials = Trials(store)
    newer = trials.enqueue(study, draft(1))
    assert newer is not None
    with store.engine.begin() as connection:
        row = t.at_trials.c.root == 1
        text = '{"space": 999, "set": {"fog": 1}}'
        connection.execute(sa.update(t.at_trials).where(row).values(strategy=text))
    assert trials.claim(study, "w") is None
    assert trials.need_newer(study) == (1,)


@pytest.mark.parametrize(("column", "learnt_from"), [("value", [1]), ("changed", [0, 1])])
def test_odd_rows_cost_themselves_and_nothing_else(
    tmp_path: Path, column: str, learnt_from: list[int]
) -> None:
    store, study = open_study(f"sqlite:///{tmp_path / 's.db'}")
    with store:
        paused(store, study, 0)
        _, good = paused(store, study, 1)
        with store.engine.begin() as connection:
            row = t.at_rungs.c.root == 0
            connection.execute(sa.update(t.at_rungs).where(row).values({column: sa.text("'high'")}))
        assert Rungs(store, study).news() == [good]
        found = Trials(store).read(study)
        assert [r.number for r in found.records] == [1]
        assert len(found.unreadable) == 1
        assert [each.number for each in SamplerHistory(store, study).trials()] == learnt_from


def test_rungs_go_with_their_trials_and_their_study(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    _, at = paused(store, study)
    store.delete(study.name)
    assert store.read(lambda c: c.execute(sa.select(t.at_rungs)).all(), "look") == []
    assert Rungs(store, study).promote(at, "w") is None


def test_a_program_from_before_rungs_finds_a_trial_that_was_given_back(
    opened: tuple[Store, StudyHandle],
) -> None:
    store, study = opened
    paused(store, study)
    with store.engine.begin() as connection:
        schema.migrate(connection, "v0004")
        stop = connection.execute(sa.select(t.at_trials.c.stop)).scalar_one()
    assert StopReason.model_validate_json(stop) == WAITS.model_copy(update={"kind": StopKind.RELEASED})
    with store.engine.begin() as connection:
        schema.migrate(connection, "head")
    claim = Trials(store).claim(study, "w")
    assert claim is not None
    assert claim.checkpoint is not None


def test_a_study_keeps_its_rungs(database_url: str) -> None:
    store, _ = open_study(database_url, pruner="promote", max_epochs=9)
    other = spec(pruner="promote", max_epochs=9, min_epochs=1)
    with store, pytest.raises(StudyError, match=r"set of rungs \(min_epochs 3, reduction_factor 3, now min_"):
        store.create_study(other, TASK, artifact_url="artifacts", sources={"a": "f" * 64})


def test_a_study_keeps_its_rungs_while_another_pruner_stops_its_trials(database_url: str) -> None:
    store, study = open_study(database_url, pruner="promote", max_epochs=9)

    def go_on(**search: Any) -> StudyHandle:
        return store.create_study(
            spec(max_epochs=9, **search), TASK, artifact_url="artifacts", sources={"a": "f" * 64}
        )

    with store:
        go_on(pruner="none", min_epochs=1)
        go_on(pruner="promote", min_epochs=1)  # nothing has come to a rung: nothing to be compared with
        go_on(pruner="none")
        paused(store, study)
        with pytest.raises(
            StudyError, match=r"set of rungs \(trials came to epochs 1, now 3: min_epochs, reduction_factor\)"
        ):
            go_on(pruner="promote")
        go_on(pruner="promote", min_epochs=1)
