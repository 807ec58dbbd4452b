"""Training runs: they learn, stop, continue to the same weights, and say what went wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import NotANumberError, TrialDataError
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.profile import Profile, profile_source, strategy_of
from automl_transfer.training.run import TrainingAborted, TrainingRun
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
def profile(task: LoadedTask, backbone: Backbone) -> Profile:
    return profile_source(backbone, "efficientnet-lite0", task, device=CPU)


def training(
    task: LoadedTask, backbone: Backbone, *, seed: int = 0, epochs: int = 4, **values: object
) -> TrainingRun:
    strategy = Strategy.model_validate({**CHEAP, **values})
    built = build_plan(strategy, backbone, task, seed=seed, device=CPU)
    return TrainingRun(built, task, max_epochs=epochs, seed=seed, device=CPU)


def test_training_learns_and_reports_every_epoch(task: LoadedTask, backbone: Backbone) -> None:
    run = training(task, backbone, epochs=6, learning_rate=1e-2)
    results = list(run.epochs())
    assert [result.epoch for result in results] == [1, 2, 3, 4, 5, 6]
    assert results[-1].accuracy > 0.8
    assert results[-1].train_loss < results[0].train_loss
    assert all(result.seconds > 0 for result in results)
    assert run.finished


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step", "one_cycle"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_schedules_reach_their_horizon(
    task: LoadedTask, backbone: Backbone, schedule: str, optimizer: str
) -> None:
    run = training(task, backbone, epochs=2, schedule=schedule, optimizer=optimizer, learning_rate=1e-2)
    rates = [result.learning_rate for result in run.epochs()]
    assert rates[-1] < rates[0] if schedule != "constant" else rates[-1] == pytest.approx(1e-2)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    task: LoadedTask, backbone: Backbone
) -> None:
    digests = []
    for seed in (0, 0, 1):
        run = training(task, backbone, seed=seed, epochs=2)
        list(run.epochs())
        digests.append(run.weights_sha256())
    assert digests[0] == digests[1] != digests[2]


CONTINUE = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
import test_run as t
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
    code = CONTINUE.format(tests=str(Path(__file__).parent), values=values, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == straight.weights_sha256()


def test_an_epoch_that_is_given_up_leaves_no_trace(task: LoadedTask, backbone: Backbone) -> None:
    straight = training(task, backbone)
    list(straight.epochs())
    asked = iter([False] * 9 + [True])
    run = TrainingRun(
        build_plan(Strategy.model_validate(CHEAP), backbone, task, seed=0, device=CPU),
        task, max_epochs=4, seed=0, device=CPU, should_abort=lambda: next(asked, False),
    )  # fmt: skip
    with pytest.raises(TrainingAborted):
        list(run.epochs())
    assert run.epoch == 1
    list(run.epochs())
    assert run.weights_sha256() == straight.weights_sha256()


@pytest.mark.parametrize("damage", ["truncated", "missing", "foreign"])
def test_a_damaged_checkpoint_is_refused(
    task: LoadedTask, backbone: Backbone, tmp_path: Path, damage: str
) -> None:
    run = training(task, backbone, epochs=2)
    next(run.epochs())
    run.save(tmp_path / "state")
    tensors = tmp_path / "state" / "state.safetensors"
    if damage == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:1000])
    elif damage == "missing":
        tensors.unlink()
    other = training(task, backbone, seed=1 if damage == "foreign" else 0, epochs=2)
    with pytest.raises(TrialDataError):
        other.restore(tmp_path / "state")


def test_divergence_is_named_with_its_place(task: LoadedTask, backbone: Backbone) -> None:
    run = training(task, backbone, optimizer="sgd", learning_rate=10.0, momentum=0.99, head_lr_mult=1000.0,
                   weight_decay=1.0, tune_mode="bias", epochs=20)  # fmt: skip
    with pytest.raises(NotANumberError, match="learning rate"):
        list(run.epochs())


class Hungry(torch.nn.Module):
    """Runs out of memory above a batch size, as a large network does on a small device."""

    def __init__(self, inner: torch.nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most, self.seen = inner, most, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and len(x) > self.most:
            raise torch.OutOfMemoryError(f"tried to allocate for {len(x)}")
        return self.inner(x)


def test_out_of_memory_halves_the_batch_and_keeps_its_effective_size(
    task: LoadedTask, backbone: Backbone
) -> None:
    run = training(task, backbone, tune_mode="full", epochs=1)
    run.model.groups[-1] = Hungry(run.model.groups[-1], most=10)
    results = list(run.epochs())
    assert len(results) == 1
    assert run.batch == 8
    assert run.batch * run.accumulate == 32


def test_the_profile_names_a_cut_whose_strategy_gives_a_usable_model(
    task: LoadedTask, backbone: Backbone, profile: Profile
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
    again = profile_source(backbone, "efficientnet-lite0", task, device=CPU)
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
