"""One strategy by hand: `train` from data to a model, and `ModelMigration` step by step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import forge
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

import automl_transfer
from automl_transfer import ModelMigration
from automl_transfer.api import Trained, evaluate, load, package, read_recipe, verify
from automl_transfer.cli.main import app
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import ConfigurationError, DataError, OutputError

DIGITS = "digits?per_class=20"
TOP = ("--set", "freeze_depth=7", "--set", "learning_rate=0.0002", "--epochs", "2")


def command(*arguments: str | Path, cwd: Path) -> list[str]:
    return [sys.executable, "-m", "automl_transfer", *map(str, arguments)]


def environment(cwd: Path) -> dict[str, str]:
    return {
        **os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "XDG_CACHE_HOME": str(cwd.parent / "cache")
    }  # fmt: skip


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [forge.command(), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, env=environment(cwd)
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """What one command left: no search, no store."""
    folder = tmp_path_factory.mktemp("by-hand")
    return folder, run("train", DIGITS, *TOP, "--set", "views=4", cwd=folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_train_prints_the_plan_trains_and_ships(trained: Any) -> None:
    folder, done = trained
    assert done.returncode == 0, done.stderr
    assert "g1     stem" in done.stdout
    assert "head   pooled 1x1, linear" in done.stdout
    assert "2 epochs" in done.stdout
    assert "seed 0, epoch 2: 0." in done.stderr  # nobody watches: a line an epoch
    assert "views has no effect here: it has one where augmentation is not none" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["runs"]
    place = folder / "runs" / "digits-per_class-20-train"
    assert sorted(path.name for path in place.iterdir()) == ["best_strategy.json", "model"]
    document = json.loads((place / "best_strategy.json").read_text())
    assert document["provenance"] == {
        "by": "train", "study": None, "identity": None, "trial": None, "root_trial": None
    }  # fmt: skip
    assert document["strategy"]["freeze_depth"] == 7
    assert (document["training"]["epochs"], document["training"]["refit"]) == (2, True)
    assert document["metrics"]["test"]["accuracy"] > 0.6
    assert f"test {document['metrics']['test']['accuracy']:.4f}" in done.stdout
    assert "no search: somebody chose the strategy" in (place / "model" / "README.md").read_text()


def test_what_train_ships_works_everywhere(trained: Any, tmp_path: Path, cache: Path) -> None:
    place = trained[0] / "runs" / "digits-per_class-20-train"
    recipe = read_recipe(place / "best_strategy.json")
    assert verify(recipe, device="cpu", cache_root=cache).word in ("identical", "within")
    (found,) = load(place / "model").predict(np.zeros((1, 8, 8), np.uint8))
    assert found.label in recipe.task.classes
    assert package(place / "model", "safetensors", tmp_path / "digits.safetensors").path.is_file()
    judged = evaluate(place / "model", DIGITS, split="test", device="cpu", cache_root=cache)
    assert recipe.metrics.test is not None
    assert judged.accuracy == pytest.approx(recipe.metrics.test.accuracy, abs=0.01)


def test_a_recipe_is_a_start_and_what_it_gives_is_verified(trained: Any, tmp_path: Path, cache: Path) -> None:
    recipe = trained[0] / "runs" / "digits-per_class-20-train" / "best_strategy.json"
    epochs: list[int] = []
    found = automl_transfer.train(
        DIGITS, recipe, settings={"tune_mode": "closed_form", "task.resolution": 40}, refit=False, seed=5,
        output=tmp_path / "solved", device="cpu", cache_root=cache,
        on_epoch=lambda result: epochs.append(result.epoch),
    )  # fmt: skip
    assert epochs == [0]
    assert found.recipe.strategy == Strategy(tune_mode="closed_form")
    assert (found.recipe.training.refit, found.recipe.training.seed) == (False, 5)
    assert found.recipe.task.resolution == 40
    assert verify(found.recipe, device="cpu", cache_root=cache).word == "identical"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "tune_mode=fulll"), "tune_mode: input should be 'closed_form'"),
        (("--set", "depth=3"), "depth: must be one of the dimensions source, truncation"),
        (("--set", "pool=[1,2]"), "pool: must be one value, got [1, 2]: a search tries several"),
        (("--set", "search.trials=3"), "search.trials: must be a dimension of the strategy"),
        (("--set", "task.size=3"), "task.size: unknown key"),
        (("--set", "batch"), "--set must be key=value, got 'batch'"),
        (("--set", "source=nothing"), "no such source: 'nothing'"),
        (("--set", "anchor=nothing"), "anchor: must be one of none"),
        (
            ("--set", "weight_scale=1.5"),
            "weight_scale: 1.5 needs a network without norm layers, got the source",
        ),
        (
            ("--set", "task.min_per_class=3", "--min-per-class", "2"),
            "task.min_per_class: must be said once, got it by --set and as 2: leave one of them out",
        ),
        (
            ("--images", "a", "--set", "task.images=b"),
            "task.images: must be said once, got it by --set and as 'a'",
        ),
        (
            ("--columns", "label=a", "--set", "task.columns.label=b"),
            "task.columns.label: must be said once, got it by --set and as 'a'",
        ),
        (("--epochs", "0"), "Invalid value for '--epochs'"),
        (("--strategy", "none.json"), "none.json must be a JSON file, got nothing there"),
        (("--device", "abacus"), "abacus"),
        (("--output", "there"), "the output must be a new folder, got there"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        done = CliRunner().invoke(app, ["train", DIGITS, *arguments])
    finally:
        os.chdir(before)
    text = done.output if isinstance(done.exception, SystemExit) else str(done.exception)
    assert said in text
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_all_mistakes_come_at_once_by_the_names_that_were_typed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        automl_transfer.train(
            DIGITS, settings={"pool": 3, "taps": "search"}, epochs=0, steps=-1, output=tmp_path / "out"
        )
    assert sorted(mistake.split(":")[0] for mistake in caught.value.mistakes) == [
        "epochs", "pool", "steps", "taps",
    ]  # fmt: skip


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    arguments = command("train", DIGITS, *TOP[:-1], "500", cwd=here)
    with subprocess.Popen(
        arguments,
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(here),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run behind
    ) as process:
        assert process.stderr is not None
        assert any("epoch 1" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        process.communicate()  # closed streams would end it otherwise
    assert process.returncode == 130
    assert list(here.rglob("*")) == []


def test_a_source_migrates_step_by_step(tmp_path: Path, cache: Path) -> None:
    migration = ModelMigration(epochs=2, device="cpu", cache_root=cache)
    with pytest.raises(ConfigurationError, match=r"call explore_data\(DATASET\)"):
        migration.generate_target_model()
    found = migration.explore_data(DIGITS)
    assert (found.task.splits.train, len(found.classes)) == (200, 10) if found.task else False
    assert migration.profile is not None
    assert migration.profile.best is not None
    assert migration.strategy.tune_mode == "closed_form"  # the best solved head

    by_profile = migration.fit().test()
    assert by_profile is not None
    assert by_profile.accuracy > 0.9

    model = migration.generate_target_model(
        tune_mode="suffix", freeze_depth=4, shrink=0.9, transfer_depth=7, learning_rate=1e-3
    )
    rows = migration.plan.rows
    assert rows[0].init == "source, shrunk and perturbed"
    assert not rows[-2].transferred
    assert model.head.linear.out_features == 10
    with pytest.raises(ConfigurationError, match=r"call fit\(\)"):
        migration.test()
    assert migration.fit() is migration
    assert [result.epoch for result in migration.history] == [1, 2]
    score = migration.test()
    assert score is not None
    assert score is migration.test()  # the test split is looked at once
    images = (load_digits().images[:20] * 255 / 16).round().astype(np.uint8)
    answers = [prediction.label for prediction in migration.predict(images)]

    shipped = migration.save(tmp_path / "out")
    assert isinstance(shipped, Trained)
    assert shipped.recipe.metrics.test == score
    assert [prediction.label for prediction in load(shipped.model).predict(images)] == answers
    with pytest.raises(OutputError, match="must be a new folder"):
        migration.save(tmp_path / "out")


def test_a_step_that_fails_leaves_what_was_fitted(tmp_path: Path, cache: Path) -> None:
    migration = ModelMigration(epochs=1, device="cpu", cache_root=cache)
    migration.explore_data(DIGITS)
    migration.fit()
    images = (load_digits().images[:5] * 255 / 16).round().astype(np.uint8)
    before = [prediction.label for prediction in migration.predict(images)]
    with pytest.raises(ConfigurationError, match="adapter"):
        migration.generate_target_model(source="scratch/torchvision/vgg11", tune_mode="adapter")
    assert migration.strategy.source == "efficientnet-lite0"
    shipped = migration.save(tmp_path / "out")
    assert [prediction.label for prediction in load(shipped.model).predict(images)] == before


def test_an_interrupted_refit_begins_anew_from_what_was_judged(tmp_path: Path, cache: Path) -> None:
    def made() -> ModelMigration:
        migration = ModelMigration(epochs=2, refit=True, device="cpu", cache_root=cache)
        migration.explore_data(DIGITS)
        migration.generate_target_model(tune_mode="head", head_init="zero", learning_rate=1e-3)
        return migration

    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    straight, interrupted = made(), made()
    straight.fit()
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(on_progress=interrupt)
    interrupted.fit()
    assert [each.epoch for each in interrupted.history] == [1, 2]
    one, other = (each.save(tmp_path / name) for each, name in ((straight, "a"), (interrupted, "b")))
    assert one.recipe.metrics == other.recipe.metrics
    assert one.recipe.training.weights_sha256 == other.recipe.training.weights_sha256


def test_an_interrupted_fit_goes_on_as_if_nothing_had_been(tmp_path: Path, cache: Path) -> None:
    """It went on from half of an epoch, and told the seconds of its second call as those of all."""

    def made() -> ModelMigration:
        migration = ModelMigration("scratch", epochs=3, device="cpu", cache_root=cache)
        migration.explore_data(DIGITS)
        migration.generate_target_model(tune_mode="head", head_init="zero", learning_rate=1e-2, batch=32)
        return migration

    steps = 0

    def interrupt(model: Any, _: object) -> None:
        nonlocal steps
        steps += model.training
        if steps == 7 + 3:  # of the second epoch
            steps += 1
            raise KeyboardInterrupt

    straight, interrupted = made(), made()
    straight.fit()
    assert interrupted._run is not None
    interrupted._run.model.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit()
    assert [each.epoch for each in interrupted.history] == [1]
    interrupted.fit()
    assert [each.epoch for each in interrupted.history] == [1, 2, 3]
    one, other = (each.save(tmp_path / name).recipe for each, name in ((straight, "a"), (interrupted, "b")))
    assert one.training.best_epoch == other.training.best_epoch == 3
    assert one.training.weights_sha256 == other.training.weights_sha256
    assert other.cost is not None
    assert other.cost.train_seconds == pytest.approx(sum(each.seconds for each in interrupted.history))


def test_a_source_without_weights_has_no_profile_and_migrates_too(cache: Path) -> None:
    migration = ModelMigration("scratch", steps=4, device="cpu", cache_root=cache)
    migration.explore_data(DIGITS)
    assert migration.profile is None
    assert migration.fit().test() is not None
    assert not any(row.transferred for row in migration.plan.rows)


def test_data_that_a_search_would_refuse_can_be_explored_and_not_migrated_to(tmp_path: Path) -> None:
    for name, count in (("many", 12), ("one", 1)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (32, 32), number).save(tmp_path / "data" / name / f"{number}.png")
    migration = ModelMigration(device="cpu", cache_root=tmp_path / "cache")
    found = migration.explore_data(tmp_path / "data")
    assert found.findings
    with pytest.raises(DataError) as caught:
        migration.fit()
    assert found.findings[0] in str(caught.value)


def test_the_package_loads_nothing_until_it_is_asked() -> None:
    program = (
        "import sys, automl_transfer; before = set(sys.modules); automl_transfer.ModelMigration; "
        "print('pydantic' in before, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
