"""A store as the program of commit e6cfbcb left it (`old/before.sql`): its rows read, and its search goes on."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import forge
import pytest

from automl_transfer.api.search import run_study
from automl_transfer.domain.records import TrialState
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL

OLD = Path(__file__).parent / "old" / "before.sql"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.executescript(
            OLD.read_text(encoding="utf-8").replace("ARTIFACTS", str(tmp_path / "out" / "artifacts"))
        )
    connection.close()
    with Store.open(StoreURL.parse(f"sqlite:///{tmp_path / 'study.db'}")) as opened:
        yield opened


def test_rows_of_before_are_read_and_claimed(store: Store) -> None:
    study, trials = store.study("before"), Trials(store)
    read = trials.read(study)
    assert read.unreadable == []
    assert [r.state.value for r in read.records] == ["COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "WAITING"]
    strategies = [r.strategy for r in read.records]
    assert strategies[1] is not None
    assert (strategies[1].augmentation, strategies[1].views, strategies[1].truncation) == ("affine", 16, 4)
    claim = trials.claim(study, "w")
    assert claim is not None
    assert claim.strategy == strategies[4]


def test_a_search_of_before_goes_on(store: Store, tmp_path: Path) -> None:
    """Its waiting trial is run, one more is drawn, and old rows and new ones are ranked together."""
    spec = store.study("before").spec
    spec = spec.model_copy(
        update={"search": spec.search.model_copy(update={"trials": 6, "stop_when": "budget"})}
    )
    result = run_study(spec, storage=store.url, output=tmp_path / "out", device="cpu")
    assert result.finished
    records = Trials(store).records(store.study("before"))
    assert len(records) == 6
    assert records[4].state is not TrialState.WAITING
    assert result.ranking is not None
    ranked = {row.root_trial for row in result.ranking.rows}
    assert {0, 1, 2} <= ranked
    assert ranked == {r.root for r in records if r.state is TrialState.COMPLETE}
    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT strategy FROM at_trials ORDER BY trial_id").scalars().all()
    assert [set(json.loads(row)) == {"space", "set"} for row in rows] == [False] * 5 + [True]


def test_a_command_that_reads_brings_an_older_store_up_to_date(tmp_path: Path) -> None:
    """It is told to a reader to have that done by 'study list'."""
    file = tmp_path / "old.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))
    connection.close()
    command = [forge.command(), "study", "list", "--storage", f"sqlite:///{file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "before" in done.stdout
