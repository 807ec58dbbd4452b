"""D22: two searches of one study at once share its trials, its profile, its confirmation and its end."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import forge

from automl_transfer.domain.records import TrialState
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL

SETTINGS = {
    "search.trials": 6, "search.stop_when": "budget", "search.max_epochs": 2, "search.confirm": 2,
    "search.confirm_runs": 3,
}  # fmt: skip


def begin(folder: Path, name: str, url: str) -> subprocess.Popen[str]:
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    return subprocess.Popen(
        [forge.command(), "search", "digits?per_class=10", "--study-name", "both",
         "--storage", url, "--output", name, *settings],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300"},
    )  # fmt: skip


def test_each_piece_of_work_is_done_once(tmp_path: Path, database_url: str) -> None:
    processes = [begin(tmp_path, "out", database_url) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    together = "\n".join(said)
    with Store.open(StoreURL.parse(database_url)) as store:
        handle, evidence = store.study("both"), Evidence(store)
        records, runs = Trials(store).records(handle), evidence.runs(handle, "confirm")
        assert len(records) == 6
        assert all(record.state in (TrialState.COMPLETE, TrialState.PRUNED) for record in records)
        assert len({record.strategy.key() for record in records if record.strategy is not None}) == 6
        assert len(evidence.profiles(handle)) == 1
        assert len(evidence.looks(handle)) == 1
        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT COUNT(*) FROM at_claims").scalar() == 0
    trained = re.findall(r"trial +(\d+)  [\d.]+ confirming, run (\d+)", together)
    assert sorted((int(root), int(run) - 1) for root, run in trained) == sorted((r.root, r.run) for r in runs)
    # One of them made the profile, from its first line to its last.
    assert [("profile of " in text) for text in said].count(True) == 1
    line = r"^ +\d+:\d\d  trial +(\d+)  (?:[\d.]+ (?:{})|failed)"
    ended = re.findall(line.format("best|pruned| {3,}"), together, re.MULTILINE)
    waited = re.findall(line.format("paused"), together, re.MULTILINE)
    assert len(set(ended)) == len(ended)
    assert len(set(waited)) == len(waited)
    assert {*map(int, ended), *map(int, waited)} == {record.number for record in records}
