"""Where images come in groups, what is said of test and validation scores counts groups, as the ranking does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import automl_transfer
from automl_transfer.api import apply, export, search
from automl_transfer.cli.main import main
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.domain.task import Split
from automl_transfer.recipes.best_strategy import read_recipe
from automl_transfer.recipes.predict import Predictor
from automl_transfer.recipes.scores import Score
from automl_transfer.reporting.confirmed import validation_interval
from automl_transfer.reporting.statistics import clopper_pearson
from automl_transfer.store.url import StoreURL

PATIENT = r"(p\d+)_"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ little, of 16 patients each: five pictures of one are nearly the same."""
    root = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for patient in range(32):
        place = root / "ab"[patient % 2]
        place.mkdir(parents=True, exist_ok=True)
        own = rng.normal(128.0, 40.0, (8, 8))
        own[:, :4] += (-1) ** patient * 14.0
        for number in range(5):
            pixels = np.kron(own, np.ones((4, 4))) + rng.normal(0.0, 2.0, (32, 32))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"p{patient}_{number}.png")
    return root


@pytest.fixture(scope="module")
def shipped(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("grouped")
    spec = StudySpec(
        name="grouped",
        task=TaskSpec(dataset=str(photos), group_from=PATIENT, seed=1),
        search=SearchSpec(trials=1, profile=False, confirm=0, pruner="none"),
        space={"tune_mode": "closed_form", "truncation": 2},
    )
    search(
        spec, storage=StoreURL.parse(str(place / "study.db")), output=place / "out", device="cpu", refit=False
    )
    return place


@pytest.fixture(scope="module")
def task(photos: Path) -> LoadedTask:
    return load_task(TaskSpec(dataset=str(photos), group_from=PATIENT, seed=1))


def by_groups(model: Path, task: LoadedTask, split: Split) -> tuple[float, float]:
    """The interval that counts patients, by the answers of a model folder."""
    rows = task.indices[split]
    answers = list(Predictor.load(model).predict(np.asarray(task.images[rows])))
    truth = [task.task.classes[label] for label in task.labels[rows]]
    right = np.array([each.label == wanted for each, wanted in zip(answers, truth, strict=True)])
    names = [Path(task.keys[row]).name.split("_")[0] for row in rows]
    groups = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return validation_interval(float(right.mean()), len(rows), right, groups)


def by_images(score: Score) -> tuple[float, float]:
    return clopper_pearson(round(score.accuracy * score.n), score.n)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


def test_every_file_of_a_search_counts_groups(shipped: Path, task: LoadedTask) -> None:
    """Test scores were given the interval of independent images, and validation had two in two files."""
    out = shipped / "out"
    recipe = read_recipe(out / "best_strategy.json")
    ranking = json.loads((out / "ranking.json").read_text(encoding="utf-8"))
    test, validation = recipe.metrics.test, recipe.metrics.validation
    assert test is not None
    assert 0.0 < test.accuracy < 1.0
    for score, split in ((test, "test"), (validation, "validation")):
        assert score.interval == pytest.approx(by_groups(out / "model", task, split))  # type: ignore[arg-type]
        assert width(score.interval) > 1.2 * width(by_images(score))
    assert list(validation.interval) == ranking["rows"][0]["validation"]["interval"]
    assert list(test.interval) == ranking["test_looks"][0]["interval"]
    assert list(test.interval) == json.loads((out / "errors.json").read_text())["test_interval"]
    low, high = (f"{100 * bound:.1f}" for bound in test.interval)
    assert f"(95% interval {low} to {high}%, {test.n} images)" in (out / "model" / "README.md").read_text()


def test_what_ships_otherwise_counts_groups(shipped: Path, task: LoadedTask) -> None:
    export(
        "grouped", shipped / "flips", storage=str(shipped / "study.db"), device="cpu", flips=True, refit=False
    )
    metrics = read_recipe(shipped / "flips" / "best_strategy.json").metrics
    assert metrics.validation.interval == pytest.approx(
        by_groups(shipped / "flips/model", task, "validation")
    )


def test_apply_counts_groups_over_seeds_too(
    shipped: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = shipped / "out" / "best_strategy.json"
    found = apply(recipe, str(photos), shipped / "two", seeds=2, device="cpu").recipe.metrics
    assert found.test is not None
    assert found.seeds is not None
    assert found.seeds.accuracy == found.test.accuracy  # a solved head depends on no seed
    assert found.seeds.interval == pytest.approx(found.test.interval)
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "apply",
                str(recipe),
                "--dataset",
                str(photos),
                "--output",
                str(shipped / "one"),
                "--device",
                "cpu",
            ]
        )
    assert not ended.value.code
    low, high = (f"{bound:.4f}" for bound in found.test.interval)
    assert f"test accuracy {found.test.accuracy:.4f} [{low}, {high}]" in capsys.readouterr().out


def test_without_groups_images_count(photos: Path, tmp_path: Path) -> None:
    made = automl_transfer.train(
        str(photos), settings={"tune_mode": "closed_form", "truncation": 2}, output=tmp_path / "alone",
        device="cpu", refit=False,
    )  # fmt: skip
    for score in (made.recipe.metrics.test, made.recipe.metrics.validation):
        assert score is not None
        assert score.interval == by_images(score)
