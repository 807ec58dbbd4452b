"""What is frozen, computed once: float32 gives the weights of computing it anew, float16 the same scores."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from small_runs import CPU

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.training.activation_cache import ActivationCache, DiskCache, MemoryCache
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import build_plan

EPOCHS = 3
STRATEGY = Strategy.model_validate(
    {"source": "efficientnet-lite0", "truncation": 4, "freeze_depth": 6, "learning_rate": 1e-4, "pool": 2}
)
SAME_WEIGHTS = 1e-5
"""Of the largest weight. The bits are usually the same; a convolution may sum large batches in another order."""
SAME_ACCURACY, SAME_NLL = 0.002, 0.001
"""Where activations are rounded to 11 bits: one image of 600, and nats."""


@pytest.fixture(scope="module")
def digits() -> LoadedTask:
    return load_task(TaskSpec(dataset="mnist5k?per_class=60"))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return get_source("efficientnet-lite0").load(1)


def trained(digits: LoadedTask, backbone: Backbone, cache: ActivationCache) -> TrainingRun:
    plan = build_plan(STRATEGY, backbone, digits, seed=0, device=CPU)
    run = TrainingRun(plan, digits, max_epochs=EPOCHS, seed=0, device=CPU, cache=cache)
    list(run.epochs())
    assert run.finished
    return run


@pytest.fixture(scope="module")
def anew(digits: LoadedTask, backbone: Backbone) -> TrainingRun:
    return trained(digits, backbone, MemoryCache(0))


def room(digits: LoadedTask, each: int) -> int:
    """Bytes for every image that a run needs, so many bytes a value."""
    images = len(digits.indices["train"]) + len(digits.indices["validation"])
    return images * 40 * 4 * 4 * each  # 40 channels of 4 x 4 after the fourth group


def entry(folder: Path) -> Path:
    (found,) = folder.glob("activations/*/values.npy")
    return found


def test_stored_as_float32_a_run_ends_with_the_weights_of_one_without_a_cache(
    digits: LoadedTask, backbone: Backbone, anew: TrainingRun, tmp_path: Path
) -> None:
    run = trained(digits, backbone, DiskCache(tmp_path, room(digits, 4)))
    assert run.conditions()["prefix"] == anew.conditions()["prefix"] == "norms folded, float32"
    assert (run.conditions()["stored"], anew.conditions()["stored"]) == (True, False)
    expected = anew.model.state_dict()
    for name, value in run.model.state_dict().items():
        largest = float(expected[name].abs().max())
        torch.testing.assert_close(value, expected[name], atol=SAME_WEIGHTS * largest, rtol=0, msg=name)
    assert run.best is not None
    assert anew.best is not None
    assert run.best.accuracy == anew.best.accuracy


def test_where_only_half_fits_float16_is_stored_and_the_scores_stay(
    digits: LoadedTask,
    backbone: Backbone,
    anew: TrainingRun,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="automl_transfer.training.inputs"):
        run = trained(digits, backbone, DiskCache(tmp_path, room(digits, 4) - 1))
    assert "kept as float16: float32 has no room" in caplog.text
    assert run.conditions()["prefix"] == "norms folded, float16"
    header, rows = 128, digits.indices["validation"]
    assert entry(tmp_path).stat().st_size == room(digits, 2) + header
    one, two = (
        scores(
            predict_logits(each.model, digits.images, rows, each.plan.normaliser(CPU)),
            digits.labels[rows],
            10,
        )
        for each in (run, anew)
    )
    assert two.accuracy > 0.9
    assert one.accuracy == pytest.approx(two.accuracy, abs=SAME_ACCURACY)
    assert one.nll == pytest.approx(two.nll, abs=SAME_NLL)


def test_a_run_that_goes_on_with_another_type_is_not_called_identical(
    digits: LoadedTask, backbone: Backbone, anew: TrainingRun, tmp_path: Path
) -> None:
    anew.save(tmp_path / "state")
    plan = build_plan(STRATEGY, backbone, digits, seed=0, device=CPU)
    cache = DiskCache(tmp_path, room(digits, 2))
    other = TrainingRun(plan, digits, max_epochs=EPOCHS, seed=0, device=CPU, cache=cache)
    resumed = other.restore(tmp_path / "state")
    assert not resumed.identical
    assert "prefix was norms folded, float32, is norms folded, float16" in resumed.differences


def test_what_float16_cannot_hold_is_not_stored(
    digits: LoadedTask, backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = build_plan(STRATEGY, backbone, digits, seed=0, device=CPU)
    last = [
        m for m in plan.model.groups[plan.frozen_prefix - 1].modules() if isinstance(m, torch.nn.BatchNorm2d)
    ]
    with torch.no_grad():
        last[-1].weight.mul_(1e6)
    cache = DiskCache(tmp_path, room(digits, 2))
    run = TrainingRun(plan, digits, max_epochs=EPOCHS, seed=0, device=CPU, cache=cache)
    assert run.conditions()["stored"] is False
    assert "float16 must hold them, which ends at 65504" in caplog.text
    assert list(tmp_path.glob("activations/*/values.npy")) == []
