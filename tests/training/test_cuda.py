"""On a real GPU: it trains as a processor does, in 32 and 16 bits, resumed, short of memory, and in a crew over NCCL.

Left out where there is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import CPU, make_run, small_backbone

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import Precision, TaskSpec
from automl_transfer.models.registry import get_source
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.evaluate import predict_logits
from automl_transfer.training.frechet import frechet_distance
from automl_transfer.training.profile import Profiler, strategy_of
from automl_transfer.training.run import TrainingRun
from automl_transfer.training.team import Team
from automl_transfer.transfer.pixels import Normaliser

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

GPU = torch.device("cuda")
STILL = {"norm_policy": "frozen"}
STRATEGIES: dict[str, dict[str, Any]] = {
    "norms train": {"optimizer": "sgd", "learning_rate": 0.05},
    "upper part": {**STILL, "tune_mode": "suffix", "freeze_depth": 4},
    "surgical": {**STILL, "tune_mode": "surgical", "block": "middle"},
    "bias": {"tune_mode": "bias", "optimizer": "sgd", "learning_rate": 0.05},
    "low rank": {**STILL, "tune_mode": "lora", "rank": 2},
    "adapter": {**STILL, "tune_mode": "adapter"},
    "solved head": {**STILL, "head_init": "ridge", "head_lr_mult": 0.01, "wise_alpha": 0.5},
    "l2sp": {**STILL, "anchor": "l2sp", "anchor_weight": 0.1},
    "delta, clipped": {**STILL, "anchor": "delta", "anchor_weight": 0.01, "clip": 1.0},
    "bss": {**STILL, "anchor": "bss", "anchor_weight": 0.01},
    "mixup": {**STILL, "mix": "mixup", "mix_alpha": 0.2},
    "cutmix": {**STILL, "mix": "cutmix", "mix_alpha": 1.0},
    "images drawn anew": {**STILL, "crop": 0.5, "distort": "trivial", "erasing": 0.25},
    "averaged": {**STILL, "ema": 0.9},
    "gradual": {**STILL, "phases": "gradual"},
    "freezing": {**STILL, "phases": "freezing"},
    "half": {**STILL, "transfer_depth": 4, "rest_init": "orthogonal"},
    "shrunk, pruned": {**STILL, "shrink": 0.8, "perturb": 1e-3, "source_prune": 0.2},
    "against attacks": {**STILL, "adversarial": 0.01},
    "whitened": {**STILL, "prepare": "whiten", "head_init": "ridge", "head_lr_mult": 0.01},
    "denoised": {**STILL, "prepare": "denoise", "prepare_steps": 8},
    "masked": {**STILL, "prepare": "masked", "prepare_steps": 8},
    "co-tuning": {**STILL, "anchor": "co_tuning", "anchor_weight": 0.01},
    "norms adapted": {"norm_policy": "adapt"},
    "norms by chance": {"stoch_norm": 0.5, "optimizer": "sgd", "learning_rate": 0.05},
    "noise": {**STILL, "input_noise": 0.1},
}
DRAWN_THERE: dict[str, dict[str, Any]] = {"dropout": {"dropout": 0.2}, "drop path": {"drop_path": 0.2}}
"""What draws on the device: other numbers than a processor's."""


def losses(run: TrainingRun) -> list[list[float]]:
    return [[result.train_loss, result.validation_loss] for result in run.epochs()]


def assert_near(found: list[list[float]], expected: list[list[float]], rel: float) -> None:
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        assert one == pytest.approx(two, rel=rel, abs=0.005)


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_trains_as_a_processor_does(task: LoadedTask, name: str) -> None:
    """Convolutions of 32 bits have mantissas of 10 on these devices (TF32)."""
    found, expected = (
        make_run(task, backbone=small_backbone(residual=True, source_classes=5), device=device, **STRATEGIES[name])
        for device in (GPU, CPU)
    )  # fmt: skip
    assert_near(losses(found), losses(expected), rel=0.03)
    assert {parameter.device.type for parameter in found.model.parameters()} == {"cuda"}
    rows = task.indices["validation"]
    ours, theirs = (
        predict_logits(run.model, task.images, rows, run.plan.normaliser(device), device)
        for run, device in ((found, GPU), (expected, CPU))
    )
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) > 0.9


@pytest.mark.parametrize("changes", DRAWN_THERE.values(), ids=DRAWN_THERE)
def test_what_leaves_things_out_trains(task: LoadedTask, changes: dict[str, Any]) -> None:
    found = losses(make_run(task, backbone=small_backbone(residual=True), device=GPU, **STILL, **changes))
    assert found[-1] < found[0]


def test_the_distance_from_a_sources_images_is_a_processors_and_asks_no_64_bits_of_the_device(
    task: LoadedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apple's have none."""
    double = torch.Tensor.double

    def narrow(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "cpu":
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return double(tensor)

    monkeypatch.setattr(torch.Tensor, "double", narrow)
    ours, theirs = (
        frechet_distance(
            small_backbone().to(at), task, Normaliser((0.5,), (0.25,), at), task.indices["train"]
        )
        for at in (GPU, CPU)
    )
    assert ours == pytest.approx(theirs, rel=0.01)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("changes", [STILL, {"tune_mode": "lora", "rank": 2}, {"clip": 1.0, "ema": 0.9}])
def test_16_bits_are_near_32(task: LoadedTask, precision: Precision, changes: dict[str, Any]) -> None:
    run = make_run(task, precision=precision, device=GPU, **changes)
    assert_near(losses(run), losses(make_run(task, device=GPU, **changes)), rel=0.05)
    assert run.conditions()["precision"] == precision
    assert {tensor.dtype for tensor in run.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_was_interrupted_goes_on_there_and_on_a_processor(
    task: LoadedTask, tmp_path: Path, precision: Precision, elsewhere: bool
) -> None:
    changes = {**STILL, "ema": 0.9}
    expected = losses(make_run(task, precision=precision, device=GPU, **changes))
    first = make_run(task, precision=precision, device=GPU, **changes)
    for result in first.epochs():
        if result.epoch == 2:
            break
    first.save(tmp_path / "checkpoint")
    device = CPU if elsewhere else GPU
    again = make_run(task, precision=precision, device=device, **changes)
    resumed = again.restore(tmp_path / "checkpoint")
    assert resumed.identical is not elsewhere
    if elsewhere:
        assert any(each.startswith("device was NVIDIA") for each in resumed.differences)
    assert_near(losses(again), expected[2:], rel=0.03 if elsewhere else 1e-3)


def test_a_checkpoint_of_a_processor_goes_on(task: LoadedTask, tmp_path: Path) -> None:
    expected = losses(make_run(task, **STILL))
    first = make_run(task, **STILL)
    next(first.epochs())
    first.save(tmp_path / "checkpoint")
    again = make_run(task, device=GPU, **STILL)
    assert not again.restore(tmp_path / "checkpoint").identical
    assert_near(losses(again), expected[1:], rel=0.03)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """As if the device had 600 MB, of which other processes of it see nothing."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction(600e6 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_memory_that_runs_out_halves_the_batch_and_ends_with_the_same(
    tmp_path: Path, little_memory: None
) -> None:
    large = load_task(TaskSpec(dataset="digits?per_class=20", resolution=224), cache_root=tmp_path)
    backbone = get_source("efficientnet-lite0").load(1)
    changes = {"source": "efficientnet-lite0", "batch": 128, "learning_rate": 1e-4, "pool": 1, **STILL}
    run = make_run(large, backbone=backbone, max_epochs=1, device=GPU, **changes)
    found = losses(run)
    assert run.batch < 128
    assert run.batch * run.accumulate == 128
    torch.cuda.set_per_process_memory_fraction(1.0)
    whole = make_run(large, backbone=backbone, max_epochs=1, device=GPU, **changes)
    expected = losses(whole)
    assert whole.batch == 128
    assert_near(found, expected, rel=0.01)


def test_the_profile_is_a_processors(task: LoadedTask) -> None:
    backbone = get_source("efficientnet-lite0").load(1)
    there, here = (Profiler(backbone, "efficientnet-lite0", task, device=at).whole() for at in (GPU, CPU))
    assert there.best.loo_accuracy == pytest.approx(here.best.loo_accuracy, abs=0.03)
    assert there.best.loo_nll == pytest.approx(here.best.loo_nll, rel=0.1)
    for one, two in zip(there.cuts, here.cuts, strict=True):
        assert one.features == two.features
        assert one.loo_nll == pytest.approx(two.loo_nll, rel=0.1)
    strategy = strategy_of(there).model_dump()
    run = make_run(task, backbone=backbone, device=GPU, **strategy)
    (result,) = run.epochs()
    assert result.accuracy == pytest.approx(there.best.loo_accuracy, abs=0.15)


def test_kept_activations_give_the_same(task: LoadedTask) -> None:
    changes = {
        "source": "efficientnet-lite0", "tune_mode": "suffix", "freeze_depth": 4, "pool": 1, "learning_rate": 1e-4,
        **STILL,
    }  # fmt: skip
    backbone = get_source("efficientnet-lite0").load(1)
    kept, plain = (
        losses(make_run(task, backbone=backbone, device=GPU, cache=cache, **changes))
        for cache in (MemoryCache(1 << 30), None)
    )
    assert_near(kept, plain, rel=0.01)


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A crew of one: gradients go through NCCL all the same."""
    monkeypatch.setitem(os.environ, "RANK", "0")
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "1")
    made = Team(torch.device("cuda:0"), f"file://{tmp_path / 'meet'}")
    yield made
    made.leave()


@pytest.mark.filterwarnings("default")  # of torch's own collectives
def test_a_crew_over_nccl_has_the_losses_of_no_crew(task: LoadedTask, team: Team) -> None:
    for changes in (STILL, {"optimizer": "sgd", "learning_rate": 0.05}, {**STILL, "ema": 0.9, "clip": 1.0}):
        expected = losses(make_run(task, device=team.device, **changes))
        for shards in (False, True):
            team.shards = shards
            run = make_run(task, device=team.device, crew=team, **changes)
            assert_near(losses(run), expected, rel=1e-3)
