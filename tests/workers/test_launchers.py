"""Launchers by name: the in-process twin from the command line, and names that nobody knows."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import forge
import pytest

from automl_transfer.errors import ConfigurationError
from automl_transfer.workers import launchers

SMALL = (
    "--set", "search.trials=1", "--set", "search.profile=false", "--set", "search.max_epochs=2",
    "--set", "search.confirm=0", "--set", "space.tune_mode=head", "--set", "space.truncation=3",
    "--set", "space.transfer_depth=8", "--set", "space.learning_rate=0.01",
)  # fmt: skip


def automl_transfer(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [forge.command(), *arguments],
        cwd=cwd, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_the_twin_in_this_process_leads_to_the_same_ranking(tmp_path: Path) -> None:
    """FINDINGS C13, habit 12: the in-process launcher could not be reached from outside."""
    rows = []
    for launcher in ("inprocess", "local"):
        done = automl_transfer("search", "digits?per_class=10", *SMALL, "-n", "2", "--launcher", launcher, "-o", launcher,
                               "--study-name", launcher, cwd=tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads((tmp_path / launcher / "ranking.json").read_text())["rows"]
        rows.append({(str(row["strategy"]), row["validation"]["nll"]) for row in found})
    assert rows[0] == rows[1]


def test_a_launcher_that_nobody_has_is_refused_before_anything(tmp_path: Path) -> None:
    for line in (("search", "digits", "-o", "out"), ("launch", "study")):
        done = automl_transfer(*line, "--launcher", "torque", cwd=tmp_path)
        assert done.returncode == 2
        assert "--launcher must be one of local, inprocess, ray, slurm, got 'torque'" in done.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match="install the package that adds it"):
        launchers.check("torque")
