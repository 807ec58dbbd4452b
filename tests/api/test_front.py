"""The Python door as people type it: names and keyword arguments."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from automl_transfer.api import apply, explore, load, package, search, train, verify
from automl_transfer.domain.spec import StudySpec, TaskSpec
from automl_transfer.errors import ConfigurationError, DataError

SMALL = {"search.profile": False, "search.max_epochs": 1, "space.truncation": 3}


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_from_a_dataset_to_a_shipped_model_in_a_few_lines() -> None:
    result = search("digits?per_class=20", trials=1, settings=SMALL)
    assert result.output == Path("runs/digits-per_class-20-quick")
    assert result.ranking is not None
    assert result.ranking.rows[0].root_trial == 0
    assert result.recipe is not None
    assert result.recipe.strategy.truncation == 3
    assert result.model is not None
    assert [p.error for p in load(result.model).predict(np.zeros((2, 8, 8), np.uint8))] == [None, None]
    file = result.output / "best_strategy.json"
    assert verify(file).word == "identical"
    applied = apply(file, "digits?per_class=10", "smaller", seeds=2)
    assert applied.model == Path("smaller/model")
    assert applied.recipe.cost is not None
    assert applied.recipe.cost.parameters > 1000
    over = applied.recipe.metrics.seeds
    assert over is not None
    assert [run.seed for run in over.runs] == [0, 1]
    assert over.interval[0] < over.accuracy < over.interval[1]
    assert "- **Over 2 seeds**: accuracy " in (applied.model / "README.md").read_text()
    assert package(applied.model, "safetensors").path == Path("smaller/model.safetensors")
    again = search("digits?per_class=20", trials=1, settings=SMALL)
    assert again.recipe == result.recipe


def test_a_dataset_is_explored() -> None:
    assert explore("digits", resolution=40).task.resolution == 40
    with pytest.raises(ConfigurationError, match="resolutoin: unknown field"):
        explore("digits", resolutoin=40)
    with pytest.raises(DataError, match="nosuch"):
        explore("nosuch")


def test_what_is_said_twice_or_wrongly() -> None:
    spec = StudySpec(name="x", task=TaskSpec(dataset="digits"))
    with pytest.raises(ConfigurationError, match="got them twice"):
        search(spec, minutes=3)
    with pytest.raises(ConfigurationError, match=r"search\.trials"):
        search("digits", settings={"search.trials": 0})
    with pytest.raises(ConfigurationError, match="seeds must be >= 1"):
        apply("nowhere.json", None, "x", seeds=0)
    with pytest.raises(ConfigurationError, match="'magic'"):
        search("digits", settings={"space.rest_init": "magic"})
    with pytest.raises(
        ConfigurationError, match=r"search\.minutes must be said once, got it as an argument and as 2"
    ):
        search("digits", minutes=3, settings={"search.minutes": 2})
    for what in (search, train):
        with pytest.raises(
            ConfigurationError, match=r"task\.columns\.label must be said once, .* as 'b' in set"
        ):
            what("labels.csv", columns={"label": "a"}, settings={"task.columns.label": "b"})
        with pytest.raises(
            ConfigurationError, match=r"task\.images must be said once, got it as an argument"
        ):
            what("labels.csv", images="a", settings={"task.images": "b"})
    with pytest.raises(ConfigurationError, match=r"name must be said once"):
        search("digits", name="a", settings={"name": "b"})
    with pytest.raises(ConfigurationError, match=r"name: must be .*got 'a b/'"):
        search("digits", settings={"name": "a b/"})
    with pytest.raises(ConfigurationError, match="got them twice"):
        search(spec, preset="best")
    for tables, said in (
        ({"search": {"minutes": 2}}, r"search\.minutes must be said once, got it as an argument and as 2"),
        ({"search": {"trials": 2}, "search.trials": 3}, r"search\.trials must be said once, got 2 and 3 in"),
        ({"task": {"dataset": "textures"}}, r"task\.dataset must be said once"),
        ({"search": {"trials": 0}}, r"search\.trials: .*got 0"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            search("digits", minutes=3, settings=tables)
    with pytest.raises(ConfigurationError, match=r"search\.minutes: .*got 0"):  # is not lost beside a table
        search("digits", minutes=0, settings={"search": {"trials": 3}})
    for what in (search, train):
        for table in ({"task": {"columns": {"label": "b"}}}, {"task.columns": {"label": "b"}}):
            with pytest.raises(
                ConfigurationError, match=r"task\.columns\.label must be said once, .* as 'b'"
            ):
                what("labels.csv", columns={"label": "a"}, settings=table)
    Path("labels.csv").write_text("file,label\na.png,cat\nb.png,dog\n")
    with pytest.raises(DataError, match="nowhere"):  # images that only settings name are looked for
        search("labels.csv", settings={"task.images": "nowhere"})
    with pytest.raises(DataError, match="nowhere"):  # a table of settings hides no argument
        search("labels.csv", images="nowhere", settings={"task": {"resolution": 32}})
    assert not Path("runs").exists()


def test_importing_the_door_imports_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, automl_transfer.api; print(sorted({'torch', 'sklearn', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
