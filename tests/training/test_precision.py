"""Mixed precision: near float32, exactly resumed, and not taken for what it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import CPU, Limited, make_run, small_backbone
from torch import Tensor, nn

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.spec import Precision, SearchSpec
from automl_transfer.domain.strict_json import validate
from automl_transfer.errors import ConfigurationError, NotANumberError
from automl_transfer.training.precision import Scaling, check_precision, precision_here
from automl_transfer.training.run import TrainingRun

STILL = {"norm_policy": "frozen"}


def scaling_of(run: TrainingRun) -> Scaling:
    assert run._stepper is not None
    return run._stepper.scaling


@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        ("bf16", {}),
        ("fp16", {"clip": 1.0}),
        ("bf16", {"anchor": "delta", "anchor_weight": 0.01, "stoch_norm": 0.5}),
        ("bf16", {"anchor": "bss", "anchor_weight": 0.01, "mix": "mixup", "mix_alpha": 0.2}),
        ("fp16", {"tune_mode": "lora", "rank": 2, "ema": 0.9}),
        ("bf16", {"tune_mode": "suffix", "freeze_depth": 4, **STILL}),
    ],
)
def test_it_trains_nearly_as_float32_does(
    task: LoadedTask, precision: Precision, changes: dict[str, Any]
) -> None:
    seen: list[torch.dtype] = []
    run, plain = make_run(task, precision=precision, **changes), make_run(task, **changes)
    top = run.model.groups[len(run.model.groups) - 1]
    top.register_forward_hook(lambda _, __, output: seen.append(output.dtype) if top.training else None)
    for one, two in zip(run.epochs(), plain.epochs(), strict=True):
        assert one.train_loss == pytest.approx(two.train_loss, rel=0.03)
    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert {tensor.dtype for tensor in run.model.parameters()} == {torch.float32}
    assert run.conditions()["precision"] == precision
    assert "precision" not in plain.conditions()


def test_the_sources_classifier_trains_along(task: LoadedTask) -> None:
    changes = {"anchor": "co_tuning", "anchor_weight": 0.01, "truncation": 8, "transfer_depth": 8}
    runs = [
        make_run(task, backbone=small_backbone(source_classes=7), precision=precision, max_epochs=1, **changes)
        for precision in ("bf16", "fp32")
    ]  # fmt: skip
    found = [next(run.epochs()).train_loss for run in runs]
    assert found[0] == pytest.approx(found[1], rel=0.03)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_what_was_interrupted_ends_with_the_same_bits(
    task: LoadedTask, tmp_path: Path, precision: Precision
) -> None:
    whole = make_run(task, precision=precision)
    expected = [result.train_loss for result in whole.epochs()]
    first = make_run(task, precision=precision)
    for result in first.epochs():
        if result.epoch == 2:
            break
    first.save(tmp_path / "checkpoint")
    scale = scaling_of(first).state()
    again = make_run(task, precision=precision)
    assert again.restore(tmp_path / "checkpoint").identical
    assert scaling_of(again).state() == scale
    assert [result.train_loss for result in again.epochs()] == expected[2:]
    assert again.weights_sha256() == whole.weights_sha256()
    other = make_run(task)
    resumed = other.restore(tmp_path / "checkpoint")
    assert resumed.differences == (f"precision was {precision}, is fp32",)


class Steep(nn.Module):
    """Gradients through it are so many times larger."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.requires_grad:
            x = x.view_as(x)
            x.register_hook(lambda gradient: gradient * self.times)
        return x


def test_a_step_whose_scaled_gradients_overflow_is_left_out_and_counted(task: LoadedTask) -> None:
    """The loss is finite all the time: nothing is wrong with the trial."""
    changes = {**STILL, "ema": 0.9, "anchor": "l2sp", "anchor_weight": 0.1}
    run = make_run(task, precision="fp16", backbone=small_backbone(extra=Steep(300.0)), **changes)
    before = run.weights_sha256()
    losses = [result.train_loss for result in run.epochs()]
    scaling = scaling_of(run)
    assert 0 < scaling.skipped < 20
    assert scaling.state()["scale"] == 2.0**16 / 2**scaling.skipped
    assert losses[-1] < losses[0]
    assert run.weights_sha256() != before


def test_gradients_that_are_finite_at_no_scale_end_the_trial(task: LoadedTask) -> None:
    run = make_run(task, precision="fp16", backbone=small_backbone(extra=Steep(float("inf"))), **STILL)
    with pytest.raises(NotANumberError, match="gradients must be finite at some scale of the loss"):
        list(run.epochs())


def test_a_loss_that_is_not_finite_ends_it_at_once(task: LoadedTask) -> None:
    run = make_run(task, precision="fp16", optimizer="sgd", learning_rate=10.0, head_lr_mult=1000.0, **STILL)
    with pytest.raises(NotANumberError, match="the training loss must be finite"):
        list(run.epochs())


def test_memory_that_runs_out_puts_the_scale_back(task: LoadedTask) -> None:
    extra = nn.Sequential(Steep(300.0), Limited(16))
    run = make_run(task, precision="fp16", backbone=small_backbone(extra=extra), **STILL)
    plain = make_run(task, precision="fp16", backbone=small_backbone(extra=Steep(300.0)), batch=16, accumulate=2, **STILL)  # fmt: skip
    next(run.epochs())
    next(plain.epochs())
    assert run.batch == 16
    assert scaling_of(run).state() == scaling_of(plain).state()


def test_what_a_device_cannot_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="precision must be fp32 on mps, got 'bf16'"):
        check_precision("bf16", torch.device("mps"))
    with pytest.raises(ConfigurationError, match="precision"):
        validate(SearchSpec, {"precision": "int8"}, "search")
    check_precision("fp32", torch.device("mps"))
    check_precision("bf16", CPU)


def test_a_recipe_is_trained_again_in_its_precision_where_that_can_be() -> None:
    assert precision_here({"precision": "bf16"}, CPU) == "bf16"
    assert precision_here({"precision": "bf16"}, torch.device("mps")) == "fp32"
    assert precision_here({}, CPU) == "fp32"
