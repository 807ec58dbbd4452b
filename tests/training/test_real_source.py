"""The packaged source on real digits: profile, training, and a run continued in another process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import forge
import numpy as np
import pytest
import torch

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.profile import Profiler, strategy_of
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import build_plan

CPU = torch.device("cpu")
CHEAP = {"truncation": 3, "tune_mode": "suffix", "freeze_depth": 4, "head_init": "he", "batch": 32}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def task() -> LoadedTask:
    return load_task(TaskSpec(dataset="digits?per_class=20"))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return get_source("efficientnet-lite0").load(1)


@pytest.fixture(scope="module")
def profile(task: LoadedTask, backbone: Backbone) -> ProfileRecord:
    return Profiler(backbone, "efficientnet-lite0", task, device=CPU).whole()


def training(
    task: LoadedTask, backbone: Backbone, *, seed: int = 0, epochs: int = 4, **values: object
) -> TrainingRun:
    strategy = Strategy.model_validate({**CHEAP, **values})
    built = build_plan(strategy, backbone, task, seed=seed, device=CPU)
    return TrainingRun(built, task, max_epochs=epochs, seed=seed, device=CPU)


CONTINUE = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
import test_real_source as t
from pathlib import Path
from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.models.registry import get_source
task = load_task(TaskSpec(dataset="digits?per_class=20"))
run = t.training(task, get_source("efficientnet-lite0").load(1), **{values!r})
resumed = run.restore(Path({folder!r}))
assert resumed.identical, resumed.differences
list(run.epochs())
print(run.weights_sha256())
"""


@pytest.mark.parametrize(
    "values",
    [{}, {"optimizer": "sgd", "anchor": "l2sp", "norm_policy": "adapt", "clip": 1.0}, {"tune_mode": "head"}],
    ids=["adamw", "sgd anchored", "head"],
)
def test_an_interrupted_run_continues_in_another_process_to_the_same_weights(
    task: LoadedTask, backbone: Backbone, tmp_path: Path, values: dict[str, object]
) -> None:
    straight = training(task, backbone, **values)
    list(straight.epochs())
    interrupted = training(task, backbone, **values)
    for result in interrupted.epochs():
        if result.epoch == 2:
            break
    folder = tmp_path / "state"
    interrupted.save(folder)
    script = tmp_path / "continue.py"
    script.write_text(CONTINUE.format(tests=str(Path(__file__).parent), values=values, folder=str(folder)))
    done = subprocess.run([forge.command(), str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == straight.weights_sha256()


def test_the_profile_names_a_cut_whose_strategy_gives_a_usable_model(
    task: LoadedTask, backbone: Backbone, profile: ProfileRecord
) -> None:
    assert profile.best.loo_accuracy > 0.9
    assert {cut.grid for cut in profile.cuts} == {1, 2, 4}
    last = max(cut.cut for cut in profile.cuts)
    assert profile.best.loo_accuracy > max(c.loo_accuracy for c in profile.cuts if c.cut == last)
    strategy = strategy_of(profile)
    run = TrainingRun(
        build_plan(strategy, backbone, task, seed=0, device=CPU), task, max_epochs=9, seed=0, device=CPU
    )
    (result,) = run.epochs()
    assert result.epoch == 0
    assert result.accuracy > 0.85
    again = Profiler(backbone, "efficientnet-lite0", task, device=CPU).whole()
    assert again.best == profile.best


def test_logits_do_not_depend_on_the_batch_and_scores_equal_scikit_learn(
    task: LoadedTask, backbone: Backbone
) -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score

    run = training(task, backbone, epochs=1)
    list(run.epochs())
    rows = task.indices["validation"]
    normalise = run.plan.normaliser(CPU)
    logits = predict_logits(run.model, task.images, rows, normalise, CPU, batch=64)
    assert np.allclose(
        logits, predict_logits(run.model, task.images, rows, normalise, CPU, batch=7), atol=1e-4
    )
    found, truth, guess = scores(logits, task.labels[rows], 10), task.labels[rows], logits.argmax(1)
    assert found.accuracy == pytest.approx((truth == guess).mean())
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, guess))
    assert found.macro_f1 == pytest.approx(f1_score(truth, guess, average="macro"), abs=1e-6)
