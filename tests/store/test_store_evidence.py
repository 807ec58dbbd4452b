"""Confirmations, audits and profiles in the store: written whole, once, and gone with their study."""

from __future__ import annotations

import os
import signal

import pytest
from store_helpers import DONE, draft, open_study, outputs, start

from automl_transfer.domain.evidence import CutRecord, ExtraRun, ProfileRecord, pack_bits
from automl_transfer.domain.records import TrialState
from automl_transfer.errors import StudyError
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import StudyHandle


def run_of(root: int = 0, run: int = 0, accuracy: float = 0.9, **changes: object) -> ExtraRun:
    values: dict[str, object] = {
        "kind": "confirm", "root": root, "run": run, "seed": 1, "epoch": 2, "images": 4, "accuracy": accuracy,
        "balanced_accuracy": accuracy, "macro_f1": accuracy, "nll": 0.1, "seconds": 1.0,
        "judged": pack_bits([True] * 4), "correct": pack_bits([True, False, True, True]),
    }  # fmt: skip
    return ExtraRun.model_validate(values | changes)


PROFILE = ProfileRecord(
    source="a", normalise="source", images=9, seconds=0.5, frechet=1.5, unscored={"gbc": "no reason"},
    cuts=(CutRecord(cut=1, grid=1, features=8, loo_accuracy=0.5, loo_nll=1.0, ridge_lambda=1.0, truncation=None,
                    scores={"logme": -0.5}),),
)  # fmt: skip


def with_trials(url: str, number: int = 2) -> tuple[Store, StudyHandle]:
    store, study = open_study(url)
    trials = Trials(store)
    for at in range(number):
        claim = trials.create(study, draft(at), "w", limit=None)
        assert claim is not None
        trials.finish(claim, TrialState.COMPLETE, 0.5, DONE)
    return store, study


def test_what_is_written_is_read(database_url: str) -> None:
    store, study = with_trials(database_url)
    evidence = Evidence(store)
    runs = [run_of(0, 0), run_of(0, 1, 0.8), run_of(1, 0), run_of(1, 0, kind="audit")]
    for run in runs:
        evidence.add_run(study, run)
    evidence.add_profile(study, PROFILE)
    assert sorted(evidence.runs(study), key=str) == sorted(runs, key=str)
    assert evidence.runs(study, "audit") == [runs[3]]
    assert evidence.profiles(study) == [PROFILE]
    store.close()


def test_the_first_one_stays(database_url: str) -> None:
    store, study = with_trials(database_url)
    evidence = Evidence(store)
    evidence.add_run(study, run_of(accuracy=0.9))
    evidence.add_run(study, run_of(accuracy=0.1))
    evidence.add_profile(study, PROFILE)
    evidence.add_profile(study, PROFILE.model_copy(update={"images": 1}))
    assert [run.accuracy for run in evidence.runs(study)] == [0.9]
    assert [profile.images for profile in evidence.profiles(study)] == [9]
    store.close()


def test_all_goes_with_the_study_and_nothing_else_does(database_url: str) -> None:
    store, study = with_trials(database_url)
    other = store.create_study(
        study.spec.model_copy(update={"name": "other"}), study.task, artifact_url="a", sources={}
    )
    claim = Trials(store).create(other, draft(5), "w", limit=None)
    assert claim is not None
    evidence = Evidence(store)
    for handle in (study, other):
        evidence.add_run(handle, run_of())
        evidence.add_profile(handle, PROFILE)
    store.delete(study.name)
    assert (evidence.runs(study), evidence.profiles(study)) == ([], [])
    assert (len(evidence.runs(other)), len(evidence.profiles(other))) == (1, 1)
    with pytest.raises(StudyError, match="trial 0 must still be in study"):
        evidence.add_run(study, run_of())
    store.close()


def test_from_the_first_version_with_data(database_url: str) -> None:
    """A store of the first release is brought up; its trials stay, and a downgrade removes only the new."""
    from automl_transfer.store import schema

    store, study = with_trials(database_url)
    before = Trials(store).records(study)
    Evidence(store).add_run(study, run_of())
    with store.engine.begin() as connection:
        schema.migrate(connection, "base")
    store.close()
    url = StoreURL.parse(database_url)
    engine_store = Store.open(url)  # up again, from nothing of ours
    assert [s.ours for s in engine_store.studies()] == [False]
    assert len(Trials(engine_store).records(study.study_id)) == len(before)
    engine_store.close()


def test_many_processes_write_the_same_runs_once(database_url: str) -> None:
    store, study = with_trials(database_url)
    store.close()
    processes = [start("add_runs", database_url, study.name, 20) for _ in range(3)]
    outputs(processes)
    store = Store.open(StoreURL.parse(database_url))
    assert [run.run for run in Evidence(store).runs(study)] == list(range(20))
    store.close()


def test_killed_while_writing_every_row_is_whole(database_url: str) -> None:
    store, study = with_trials(database_url)
    process = start("add_runs", database_url, study.name, 10_000, killed=True)
    evidence = Evidence(store)
    while not evidence.runs(study):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = evidence.runs(study)  # each one parses and validates
    assert [run.run for run in kept] == list(range(len(kept)))
    store.close()
