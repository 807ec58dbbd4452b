"""Every door is used as another package would: one file and one entry point, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import forge
import numpy as np
import pytest
import torch
from installing import POINTS, install
from small_runs import make_run, small_task

from automl_transfer import plugins
from automl_transfer.domain.scores import SCORES
from automl_transfer.transfer.scores.base import Seen, scored

ROOT = Path(__file__).parents[2]
METHODS = {"rest_init": "halves", "anchor": "near_average", "mix": "next_one", "phases": "head_first",
           "prepare": "unit_variance", "distort": "halves_swapped"}  # fmt: skip
SMALL = (
    "--set", "search.trials=1", "--set", "search.profile=false", "--set", "search.max_epochs=2",
    "--set", "search.confirm=0", "--set", "space.transfer_depth=4", "--set", "space.tune_mode=full",
    "--set", "space.norm_policy=train", "--set", "task.resolution=16",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for group in POINTS:
        install(group, folder)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(site))
    plugins._declared.cache_clear()
    yield
    monkeypatch.undo()
    plugins._declared.cache_clear()


def run(*arguments: str, site: Path | None, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = (
        {} if site is None else {"PYTHONPATH": os.pathsep.join((str(site), os.environ.get("PYTHONPATH", "")))}
    )
    return subprocess.run(
        [forge.command(), *arguments],
        cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **path},
    )  # fmt: skip


def test_methods_and_a_file_that_other_packages_know_lead_to_a_ranking(site: Path, tmp_path: Path) -> None:
    named = [part for role, name in METHODS.items() for part in ("--set", f"space.{role}={name}")]
    tiles = np.random.default_rng(0).integers(0, 99, (90, 257), dtype=np.uint8)
    tiles[:, 0] = np.arange(90) % 3
    tiles[:, 1:] += 70 * tiles[:, :1]
    (tmp_path / "bright.tiles").write_bytes(tiles.tobytes())
    done = run("search", "bright.tiles", *SMALL, *named, "-o", "out", site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "data doctor: Counted by another package (90)" in done.stdout
    row = json.loads((tmp_path / "out" / "ranking.json").read_text())["rows"][0]
    assert {role: row["strategy"][role] for role in METHODS} == METHODS
    for words in (
        "rest halves",
        "near_average 0.01",
        "next_one 0.2",
        "phases head_first",
        "by unit_variance",
        "halves_swapped 0.5",
    ):
        assert words in row["description"]
    versions = json.loads((tmp_path / "out" / "best_strategy.json").read_text())["environment"]["versions"]
    assert versions["door_term"] == versions["door_phases"] == "1.0"
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index('id="cost"') < page.index("How many trials") < page.index('id="errors"')
    assert "1 trials in all." in page
    # Without them, a study that names them is refused, and a recipe says which method is missing.
    bare = run("apply", "out/best_strategy.json", "-o", "new", site=None, cwd=tmp_path)
    assert bare.returncode == 2
    assert "got 'halves'" in bare.stderr
    assert "door_initialiser 1.0" in bare.stderr
    assert not (tmp_path / "new").exists()
    refused = run("search", "digits", *SMALL, *named, "-o", "no", site=None, cwd=tmp_path)
    assert refused.returncode == 2
    for role, name in METHODS.items():
        assert f"space.{role}: must be one of" in refused.stderr
        assert repr(name) in refused.stderr
    assert not (tmp_path / "no").exists()


def test_a_dataset_a_source_a_metric_and_a_launcher_of_other_packages_lead_to_a_ranking(
    site: Path, tmp_path: Path
) -> None:
    line = (
        "search", "shells?count=20", *SMALL, "--set", "space.source=tinynet", "--set", "search.trials=2",
        "--set", "task.metric=half_marks", "--set", "search.confirm=2",
        "-n", "2", "-o", "out", "--launcher",
    )  # fmt: skip
    done = run(*line, "typed", site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ranking = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert ranking["task"]["name"] == "shells?count=20"
    assert {row["strategy"]["source"] for row in ranking["rows"]} == {"tinynet"}
    row, mean = ranking["rows"][0], ranking["rows"][0]["confirmation"]
    assert ranking["task"]["metric"] == "half_marks"
    assert row["validation"]["score"] == row["validation"]["accuracy"] / 2
    assert mean["score"] == pytest.approx(mean["accuracy"] / 2)
    recipe = json.loads((tmp_path / "out" / "best_strategy.json").read_text())
    assert recipe["metrics"]["test"]["other"] == recipe["metrics"]["test"]["accuracy"] / 2
    assert "half marks" in (tmp_path / "out" / "report.html").read_text()
    assert "left after" in "".join(path.read_text() for path in tmp_path.rglob("worker-*.log"))
    bare = run(*line, "typed", site=None, cwd=tmp_path)
    assert bare.returncode == 2
    assert "--launcher must be one of local, inprocess, ray, slurm, got 'typed'" in bare.stderr
    bare = run("apply", "out/best_strategy.json", "-o", "new", site=None, cwd=tmp_path)
    assert bare.returncode == 2
    assert (
        "metric must be one of accuracy, balanced_accuracy, macro_f1, robust-N, got 'half_marks'"
        in bare.stderr
    )
    assert "door_metric 1.0" in bare.stderr
    refused = run("search", "digits", "--set", "task.metric=half_marks", "-o", "no", site=None, cwd=tmp_path)
    assert refused.returncode == 2
    assert (
        "task.metric: must be one of accuracy, balanced_accuracy, macro_f1, robust-N, got 'half_marks'"
        in refused.stderr
    )


def test_each_door_is_one_file_and_one_line(site: Path) -> None:
    """Issue 18: files that a further method touches, in a package of its own: 1, and one line of metadata."""
    assert set(POINTS) == set(get_args(plugins.Group))
    for group, point in POINTS.items():
        module = point.split("= ")[1].split(":")[0]
        files = [path for path in site.glob(f"{module}*") if path.is_file()]
        assert len(files) == 1, group
        lines = (site / f"{module}-1.0.dist-info" / "entry_points.txt").read_text().splitlines()
        assert len(lines) == 2, group  # the group, and the line
        ours = [path for path in (ROOT / "automl_transfer").rglob("*.py") if module in path.read_text()]
        assert not ours, group
    print(f"{len(POINTS)} doors, each 1 file and 1 line")


@pytest.mark.usefixtures("installed")
def test_what_terms_and_phases_keep_survives_an_interruption_at_every_epoch(tmp_path: Path) -> None:
    task = small_task(tmp_path / "cache")
    changes = {"anchor": "near_average", "mix": "next_one", "phases": "head_first", "optimizer": "adamw"}
    whole = make_run(task, **changes)
    results = list(whole.epochs())
    body = [n for n, p in whole.model.named_parameters() if n.startswith("groups.")]
    assert len(results) == 4
    for stop in (1, 2, 3):
        first = make_run(task, **changes)
        for result in first.epochs():
            if result.epoch == stop:
                break
        if stop == 2:  # the head's phase is over: the body has not moved
            fresh = make_run(task, **changes).model.state_dict()
            assert all(torch.equal(fresh[name], first.model.state_dict()[name]) for name in body)
        first.save(tmp_path / f"checkpoint-{stop}")
        second = make_run(task, **changes)
        assert second.restore(tmp_path / f"checkpoint-{stop}").identical
        assert [r.epoch for r in second.epochs()] == list(range(stop + 1, 5))
        assert second.weights_sha256() == whole.weights_sha256()
        second.load_best()
        whole.load_best()
        assert second.weights_sha256() == whole.weights_sha256()
        whole = make_run(task, **changes)
        list(whole.epochs())


@pytest.mark.usefixtures("installed")
def test_a_score_is_told_with_ours_and_a_broken_one_only_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(24.0).reshape(12, 2) + torch.arange(12)[:, None] % 2
    seen = Seen(x, torch.arange(12) % 2, 2)
    found = scored(seen)
    assert set(found) == {*SCORES, "spread"}
    assert found["spread"] > 0.0
    monkeypatch.setattr("door_score.spread", lambda seen: seen.no_such_thing)
    unscored: dict[str, str] = {}
    assert set(scored(seen, unscored=unscored)) == set(SCORES)
    assert unscored["spread"].startswith("its plugin raised AttributeError")
