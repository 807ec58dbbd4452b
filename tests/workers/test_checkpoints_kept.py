"""Checkpoints that cannot be read, belong to an earlier version, or are named by a row that nobody should trust."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from test_worker_in_process import AtEpoch, run
from worker_helpers import TinyStudy, strategy, tiny_study

from automl_transfer.domain.records import StopKind, TrialState
from automl_transfer.search import objective
from automl_transfer.store import tables as t
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.files import state_key
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.worker import Worker


def released(study: TinyStudy) -> Path:
    """A trial that waits after its second epoch; the folder of its checkpoint."""
    stop = StopRequest()
    observer = AtEpoch(2, lambda: stop.ask("test"))
    Worker(study.store, study.handle, study.bench, stop=stop, observer=observer).run()
    assert [(r.state, len(r.epochs)) for r in study.records()] == [(TrialState.WAITING, 2)]
    folder = Path(study.handle.artifact_url) / study.handle.identity / state_key(0, 0, 2)
    assert folder.is_dir()
    return folder


@pytest.mark.parametrize("trouble", ["unmounted", "input/output error"])
def test_c4_trouble_with_the_disk_costs_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(objective, "FETCH_PAUSES", (0.0,))
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        folder = released(study)
        artifacts = tmp_path / "artifacts"
        tries: list[str] = []
        with monkeypatch.context() as patch:

            def fails(self: ArtifactStore, key: str, to: Path) -> str:
                tries.append(key)
                raise OSError(5, "Input/output error")

            if trouble == "unmounted":
                artifacts.rename(tmp_path / "away")
            else:
                patch.setattr(ArtifactStore, "get", fails)
            run(study, max_trials=1)
        if trouble == "unmounted":
            shutil.rmtree(artifacts, ignore_errors=True)  # pictures of the failed trial
            (tmp_path / "away").rename(artifacts)
        else:
            assert tries == [state_key(0, 0, 2)] * 2
        failed, waiting = study.records()
        assert failed.stop is not None
        assert (failed.stop.kind, failed.restarts) == (StopKind.DATA, 0)
        assert (waiting.state, waiting.attempt, len(waiting.epochs)) == (TrialState.WAITING, 1, 2)
        assert folder.is_dir()
        run(study)
        last = study.records()[-1]
        assert (last.state, last.restarts, [e.epoch for e in last.epochs]) == (
            TrialState.COMPLETE,
            0,
            [1, 2, 3],
        )


@pytest.mark.parametrize("key", ["../../kept", "/etc", "trial-000007/state-0-2", "trial-000000", "a\\b"])
def test_e2_a_row_can_name_no_other_file_and_ends_no_worker(tmp_path: Path, key: str) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy(), strategy(1e-2)]) as study:
        kept = tmp_path / "kept"
        other = Path(study.handle.artifact_url) / study.handle.identity / "trial-000007" / "state-0-2"
        stop = StopRequest()
        Worker(
            study.store, study.handle, study.bench, stop=stop, observer=AtEpoch(2, lambda: stop.ask("test"))
        ).run()
        for folder in (kept, other):
            folder.mkdir(parents=True)
            (folder / "precious").write_text("mine")
        with study.store.engine.begin() as connection:
            connection.execute(sa.update(t.at_checkpoints).values(uri=key))
        run(study)
        failed, done = study.records()
        assert failed.stop is not None
        assert (failed.state, done.state) == (TrialState.FAIL, TrialState.COMPLETE)
        assert "must lie under its own key" in failed.stop.detail
        assert [(folder / "precious").read_text() for folder in (kept, other)] == ["mine", "mine"]
        assert (other.parents[1] / state_key(0, 0, 2)).is_dir()


def test_a_trial_of_an_earlier_version_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Before identities all studies of a folder kept their files under the same keys."""
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        folder = released(study)
        earlier = tmp_path / "artifacts" / state_key(0, 0, 2)
        earlier.parent.mkdir()
        folder.rename(earlier)
        run(study)
        (record,) = study.records()
        assert (record.state, record.restarts) == (TrialState.COMPLETE, 0)
        assert not earlier.exists()
        assert not folder.exists()


def test_what_another_study_left_under_the_same_key_is_neither_read_nor_touched(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        folder = released(study)
        theirs = tmp_path / "artifacts" / state_key(0, 0, 2)
        theirs.parent.mkdir()
        folder.rename(theirs)
        (theirs / "state.json").write_text("of another study")
        run(study)
        (record,) = study.records()
        assert (record.state, record.restarts) == (TrialState.COMPLETE, 1)
        assert (theirs / "state.json").read_text() == "of another study"
