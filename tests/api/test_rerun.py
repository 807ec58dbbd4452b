"""A best-strategy file run again by its user: on its own data, on other data, and where it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import forge
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from typer.testing import CliRunner

from automl_transfer.errors import SourceError
from automl_transfer.recipes.best_strategy import Recipe, read_recipe, write_recipe

DIGITS = "digits?per_class=20"
TINY = {
    "search.trials": 1,
    "search.max_epochs": 2,
    "search.profile": "false",
    "space.truncation": 3,
    "space.freeze_depth": 4,
}


def run(*arguments: str | Path, cwd: Path, cache: bool = True) -> subprocess.CompletedProcess[str]:
    place = ("--cache", str(cwd / "cache")) if cache else ()
    return subprocess.run(
        [forge.command(), *map(str, arguments), *place],
        cwd=cwd, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    done = run("search", DIGITS, *settings, "--output", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out" / "best_strategy.json"


def changed(recipe: Path, where: Path, change: Any) -> Path:
    document = json.loads(recipe.read_text())
    change(document)
    where.write_text(json.dumps(document))
    return where


def test_verify_gives_the_same_weights_in_another_process(recipe: Path, tmp_path: Path) -> None:
    done = run("verify", recipe, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical: the same weights, bit for bit; test ")
    assert json.loads(recipe.read_text())["training"]["conditions"]["threads"] == 1


def test_verify_says_why_results_may_differ_and_whether_they_do(recipe: Path, tmp_path: Path) -> None:
    def other_machine(document: Any) -> None:
        document["training"]["weights_sha256"] = "0" * 64
        document["training"]["conditions"]["threads"] = 64
        document["environment"]["versions"]["timm"] = "0.0.1"

    within = changed(recipe, tmp_path / "within.json", other_machine)
    done = run("verify", within, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("within: other weights")
    assert "why they may differ: threads was 64, is 1" in done.stdout
    assert "why they may differ: timm was 0.0.1, is " in done.stdout

    def too_good(document: Any) -> None:
        other_machine(document)
        document["metrics"]["test"]["accuracy"] = 0.999

    done = run("verify", changed(recipe, tmp_path / "outside.json", too_good), "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "outside"

    def edited(document: Any) -> None:
        document["metrics"]["test"]["accuracy"] = 0.999

    done = run("verify", changed(recipe, tmp_path / "edited.json", edited), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("outside: ")
    assert "the weights are the same, and their accuracy is not what the file says" in done.stdout


def test_apply_trains_it_on_other_data_and_the_result_is_a_recipe_again(recipe: Path, tmp_path: Path) -> None:
    done = run("apply", recipe, "--dataset", "textures?patch=64", "-o", "new", "--seeds", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "over 2 seeds: mean " in done.stdout
    written = json.loads((tmp_path / "new" / "best_strategy.json").read_text())
    assert written["task"]["classes"] == ["brick", "grass", "gravel"]
    assert written["task"]["resolution"] == 64
    assert written["metrics"]["test"]["accuracy"] > 0.6
    assert written["strategy"] == json.loads(recipe.read_text())["strategy"]
    assert str(tmp_path) not in (tmp_path / "new" / "best_strategy.json").read_text()
    assert run("explore", "textures?patch=64", "--sheet", "sheet.png", cwd=tmp_path).returncode == 0
    label = run("predict", "new/model", "sheet.png", cwd=tmp_path, cache=False)
    assert label.stdout.splitlines()[1].split(",")[1] in written["task"]["classes"]
    again = run("verify", "new/best_strategy.json", cwd=tmp_path)
    assert again.stdout.startswith("identical"), again.stdout + again.stderr


def test_what_cannot_be_run_again_is_one_clear_error_and_writes_nothing(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    def other_weights(document: Any) -> None:
        document["source"]["sha256"] = "0" * 64

    def from_a_file(document: Any) -> None:
        name = "checkpoint/torchvision/resnet18@net.safetensors"
        document["source"]["name"] = document["strategy"]["source"] = name

    def unknown(document: Any) -> None:
        document["strategy"]["depth"] = 3

    foreign = changed(recipe, tmp_path / "a.json", other_weights)
    local = changed(recipe, tmp_path / "b.json", from_a_file)
    wrong = changed(recipe, tmp_path / "c.json", unknown)
    before = sorted(tmp_path.iterdir())
    for arguments, said in (
        (("apply", recipe, "-o", "there"), "the output must be a new folder"),
        (("apply", foreign, "-o", "new"), "must have the recipe's sha256 (000000000000"),
        (
            ("apply", local, "-o", "new"),
            "say where it lies with --source checkpoint/torchvision/resnet18@PATH",
        ),
        (("apply", wrong, "-o", "new"), "strategy.depth"),
        (("apply", recipe, "-o", "new", "--dataset", "nowhere"), "got 'nowhere'"),
        (
            ("apply", recipe, "-o", "new", "--on-bad-image", "eat"),
            "on_bad_image: input should be 'refuse' or 'skip'",
        ),
        (("apply", recipe, "-o", "new", "--device", "abacus"), "abacus"),
        (("verify", recipe, "--dataset", "digits"), "a recipe is verified on its own data"),
        (("verify", tmp_path / "none.json"), "does not exist"),
    ):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert said in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert [path for path in sorted(tmp_path.iterdir()) if path.name != "cache"] == before


def test_the_same_from_python(recipe: Path, tmp_path: Path) -> None:
    import numpy as np

    from automl_transfer.api import apply, load, read_recipe, task_of, verify

    read = read_recipe(recipe)
    epochs: list[int] = []
    applied = apply(
        read, task_of(read, None), tmp_path / "again", device="cpu", cache_root=tmp_path / "cache",
        on_epoch=lambda seed, result: epochs.append(result.epoch),
    )  # fmt: skip
    assert epochs == [1, 2]
    assert applied.recipe.strategy == read.strategy
    assert applied.test_accuracy is not None
    refitted = read.model_copy(update={"training": read.training.model_copy(update={"refit": True})})
    other = apply(refitted, task_of(read, None), tmp_path / "r", device="cpu", cache_root=tmp_path / "cache")
    # Validation images choose the seed, so they are never trained on.
    assert other.recipe.training == applied.recipe.training
    predictor = load(tmp_path / "again" / "model")
    found = list(predictor.predict(np.zeros((3, 8, 8), np.uint8), top=2))
    assert [len(prediction.top) for prediction in found] == [2, 2, 2]
    own = task_of(applied.recipe, None)
    assert verify(applied.recipe, own, device="cpu", cache_root=tmp_path / "cache").word == "identical"


def test_other_data_are_trained_on_for_as_long_as_suits_them_where_nobody_named_a_length(
    tmp_path: Path,
) -> None:
    """A recipe of many images gave few ones a fraction of the steps that they want; of few ones, many too many."""
    from automl_transfer.api import apply, train
    from automl_transfer.cli.main import app

    def length(recipe: Recipe) -> tuple[int, int, bool | None]:
        return recipe.training.epochs, recipe.training.passes, recipe.training.by_data

    def with_length(**changes: Any) -> Recipe:
        return made.model_copy(update={"training": made.training.model_copy(update=changes)})

    other, cache = "digits?per_class=40", tmp_path / "cache"
    head = {"source": "scratch/torchvision/squeezenet1_1", "truncation": 2, "tune_mode": "head"}
    made = train(
        DIGITS, settings=head | {"head_init": "zero"}, output=tmp_path / "own", refit=False, device="cpu",
        cache_root=cache,
    ).recipe  # fmt: skip
    assert length(made) == (9, 9, True)

    of_before = with_length(by_data=None)
    again = apply(of_before, None, tmp_path / "same", device="cpu", cache_root=cache).recipe
    assert again.training == made.training
    file = tmp_path / "before.json"
    write_recipe(file, of_before)
    arguments = ("apply", file, "--dataset", other, "-o", tmp_path / "other", "--cache", cache)
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert "trained for 9 epochs of 5 passes, as suits 400 training images" in done.output
    assert "(the recipe's own 200: 9 epochs of 9 passes)" in done.output
    assert length(read_recipe(tmp_path / "other" / "best_strategy.json")) == (9, 5, True)

    named = with_length(epochs=2, passes=1, by_data=False)
    assert length(apply(named, other, tmp_path / "n", device="cpu", cache_root=cache).recipe) == (2, 1, False)


def test_a_recipe_that_mirrors_says_so_where_that_may_be_wrong(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from automl_transfer.api import apply

    mirrored = changed(recipe, tmp_path / "m.json", lambda document: document["strategy"].update(mirror=True))
    apply(mirrored, None, tmp_path / "new", device="cpu", cache_root=tmp_path / "cache")
    assert "mirror is True, and mirrored images of digits" in caplog.text


def test_a_recipe_says_which_changes_leave_a_class_as_it_is(tmp_path: Path) -> None:
    """Distortions drawn anew turn and mirror by that: without it other images would be trained on."""
    said = (
        "--set",
        "task.label_preserving=['mirror', 'rotate']",
        "--set",
        "distort=trivial",
        "--set",
        "tune_mode=head",
    )
    done = run("train", DIGITS, *said, "--epochs", "1", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "best_strategy.json").read_text())
    assert found["task"]["reading"]["label_preserving"] == ["mirror", "rotate"]
    again = run("verify", "out/best_strategy.json", cwd=tmp_path)
    assert again.stdout.startswith("identical"), again.stdout + again.stderr


def test_another_source_is_any_other_and_the_recipes_own_file_only_itself(
    recipe: Path, tmp_path: Path
) -> None:
    from automl_transfer.api.rerun import load_again, load_source
    from automl_transfer.api.rerun import task_of as its_task

    torch.manual_seed(0)
    file = tmp_path / "net.safetensors"
    save_file(torchvision.models.resnet18().state_dict(), str(file))
    read = read_recipe(recipe)
    task = load_again(read, its_task(read, None), None, tmp_path / "cache")
    name = f"checkpoint/torchvision/resnet18@{file}"
    assert load_source(read, name, task, same=False).architecture == "torchvision/resnet18"
    own = read.model_copy(
        update={
            "strategy": read.strategy.model_copy(update={"source": "checkpoint/torchvision/resnet18@here"})
        }
    )
    with pytest.raises(SourceError, match="must have the recipe's sha256"):
        load_source(own, name, task, same=False)


def test_of_several_seeds_the_best_by_the_tasks_metric_ships() -> None:
    """C2: it was the best by accuracy, whatever the task is judged by."""
    from automl_transfer.api.applying import _rank
    from automl_transfer.recipes.scores import RecipeMetrics, Score

    def scored(accuracy: float, balanced: float) -> RecipeMetrics:
        score = Score(
            accuracy=accuracy, balanced_accuracy=balanced, macro_f1=balanced, nll=0.1, interval=(0.0, 1.0), n=9
        )  # fmt: skip
        return RecipeMetrics(validation=score, test=None)

    ignores_the_rare, sees_it = scored(0.95, 0.5), scored(0.9, 0.9)
    assert _rank(sees_it, "balanced_accuracy") > _rank(ignores_the_rare, "balanced_accuracy")
    assert _rank(ignores_the_rare, "accuracy") > _rank(sees_it, "accuracy")
