"""Two versions of the program on one store, as real processes (FINDINGS C1): each runs what it understands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import forge
from worker_helpers import strategy, tiny_study

from automl_transfer.domain.records import TrialState
from automl_transfer.domain.strategy import SPACE_VERSION

NEWER = (sys.executable, str(Path(__file__).parent / "newer_program.py"))


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        env={**os.environ, "AUTOML_TRANSFER_STORAGE": url, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_the_older_program_goes_on_and_the_newer_one_runs_all(database_url: str, tmp_path: Path) -> None:
    """The study searches a dimension that the older one does not know: it draws without it."""
    old = (forge.command(),)
    with tiny_study(database_url, tmp_path, trials=3, extra_space={"jitter": "search"}) as study:
        assert run(database_url, *NEWER, "enqueue", database_url).stdout == "0\n"
        study.enqueue([strategy(1e-3)])

        older = run(database_url, *old, "worker", "tiny", "--threads", "1")
        assert older.returncode == 0, older.stderr
        assert "what is left needs a newer automl-transfer: trial 0" in older.stderr
        states = {r.number: r.state for r in study.records()}
        assert states == {1: TrialState.COMPLETE, 2: TrialState.COMPLETE}  # one waited, one it drew itself
        counts = study.trials.counts(study.handle)
        assert (counts.waiting, counts.open_roots, counts.failed) == (1, 1, 0)
        (named,) = json.loads(run(database_url, *old, "status", "tiny", "--json").stdout)["unreadable"]
        assert (named["what"], named["newer"]) == ("trial 0", True)
        assert (
            f"a newer automl-transfer wrote it (space {SPACE_VERSION + 1}, this one knows {SPACE_VERSION})"
            in named["reason"]
        )

        newer = run(database_url, *NEWER, "worker", "tiny", "--threads", "1")
        assert newer.returncode == 0, newer.stderr
        assert "the study is finished" in newer.stderr
        counts = study.trials.counts(study.handle)
        assert (counts.complete, counts.open_roots, counts.failed) == (3, 0, 0)
