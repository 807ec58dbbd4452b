"""Out of memory: the batch is halved until it fits, the step stays the same, and one image is the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import CPU, Limited, make_run, small_backbone

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import OutOfMemoryError
from automl_transfer.models.registry import get_source
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.evaluate import measure_latency, predict_logits
from automl_transfer.training.inputs import StoredInputs
from automl_transfer.transfer.features import batch_for, pixel_elements


class Small(Limited):
    """The same whether it trains or not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("too many")
        return x


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_the_batch_is_halved_until_it_fits(task: LoadedTask, error: type[Exception]) -> None:
    run = make_run(task, backbone=small_backbone(norms=False, extra=Limited(10, error)), max_epochs=2)
    plain = make_run(task, backbone=small_backbone(norms=False), max_epochs=2)
    results, expected = list(run.epochs()), list(plain.epochs())
    assert (run.batch, run.accumulate) == (8, 4)
    for one, two in zip(results, expected, strict=True):  # the same steps, from the same start
        assert one.train_loss == pytest.approx(two.train_loss, rel=1e-3)


def test_a_shortage_in_the_middle_of_training_repeats_that_epoch_only(task: LoadedTask) -> None:
    limited = Limited(16)
    limited.from_call = 9  # in the second epoch: 7 steps an epoch
    run = make_run(task, backbone=small_backbone(norms=False, extra=limited), max_epochs=3)
    plain = make_run(task, backbone=small_backbone(norms=False), max_epochs=3)
    copies = [module for module in run.model.modules() if isinstance(module, Limited)]
    assert [c.from_call for c in copies] == [9]
    for one, two in zip(run.epochs(), plain.epochs(), strict=True):
        assert one.train_loss == pytest.approx(two.train_loss, rel=1e-3)
        assert run.batch == (32 if one.epoch == 1 else 16)


@pytest.mark.parametrize(("norms", "smallest"), [(False, 1), (True, 32)])
def test_no_batch_that_fits_is_an_error_of_the_trial(task: LoadedTask, norms: bool, smallest: int) -> None:
    run = make_run(task, backbone=small_backbone(norms=norms, extra=Limited(0)))
    with pytest.raises(
        OutOfMemoryError, match=rf"at a batch of {smallest}, it did not in epoch 1 .*no memory for"
    ):
        list(run.epochs())


def test_other_runtime_errors_are_not_taken_for_a_shortage(task: LoadedTask) -> None:
    class Broken(Limited):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise RuntimeError("shapes do not match")
            return x

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(make_run(task, backbone=small_backbone(extra=Broken(0))).epochs())


def test_prediction_halves_its_batch_too(task: LoadedTask) -> None:
    rows = task.indices["validation"]
    run, plain = make_run(task, backbone=small_backbone(extra=Small(5))), make_run(task)
    normalise = plain.plan.normaliser(CPU)
    found = predict_logits(run.model, task.images, rows, normalise)
    assert found.shape == (len(rows), 10)
    for module in run.model.modules():
        if isinstance(module, Small):
            module.most = 0
    with pytest.raises(OutOfMemoryError, match="must fit in memory for one image"):
        predict_logits(run.model, task.images, rows, normalise)


def test_what_a_prediction_takes_is_measured_in_batches_that_fit(task: LoadedTask) -> None:
    """32 images went through the model at once, and a trial that had trained to its end was lost by that."""
    run = make_run(task, backbone=small_backbone(extra=Small(4)))
    normalise = run.plan.normaliser(CPU)
    assert measure_latency(run.model, task.images, normalise) > 0.0
    for module in run.model.modules():
        if isinstance(module, Small):
            module.most = 0
    with pytest.raises(OutOfMemoryError, match="must fit in memory for one image"):
        measure_latency(run.model, task.images, normalise)


def test_large_images_go_through_in_small_batches_and_steps_stay_whole(
    tmp_path: Path, task: LoadedTask
) -> None:
    """On a CPU, where large batches of large images are slow and fill the memory."""
    large = load_task(TaskSpec(dataset="digits?per_class=20", resolution=128), cache_root=tmp_path)
    runs = [make_run(large, max_epochs=1, norm_policy="frozen"), make_run(task, norm_policy="frozen")]
    next(runs[0].epochs())
    next(runs[1].epochs())
    assert [(run.batch, run.accumulate) for run in runs] == [(16, 2), (32, 1)]
    assert [batch_for(pixel_elements((side, side)), "cpu") for side in (16, 32, 64, 224)] == [256, 256, 64, 8]
    assert batch_for(pixel_elements((224, 224)), "cuda") == 256


def test_kept_activations_count_what_is_wider_within_the_layers_above(tmp_path: Path) -> None:
    """EfficientNet's blocks widen sixfold inside: the stored activation is a small part of a step."""
    large = load_task(TaskSpec(dataset="digits?per_class=3", resolution=224), cache_root=tmp_path)
    backbone = get_source("efficientnet-lite0").load(1)
    run = make_run(
        large,
        backbone=backbone,
        max_epochs=20,
        source="efficientnet-lite0",
        transfer_depth=8,
        tune_mode="suffix",
        freeze_depth=4,
        norm_policy="frozen",
        cache=MemoryCache(1 << 30),
    )
    inputs = run._inputs()
    assert isinstance(inputs, StoredInputs)
    with torch.no_grad():
        x, below = inputs.prepare(inputs.read(large.indices["train"][:1]))
        widest = [x.numel()]
        for layer in [layer for group in list(run.model.groups)[inputs.start :] for layer in group.modules()]:
            layer.register_forward_hook(lambda _, __, output: widest.append(output.numel()))
        run.model(x, inputs.start, below)
    assert inputs.elements == max(widest) > 4 * x.numel()
    assert run.batch == batch_for(max(widest), "cpu") < 32
