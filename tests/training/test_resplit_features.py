"""Heads on fresh splits: solved without another pass, as if there had been one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import CPU, small_backbone

from automl_transfer.data.folds import fresh_split
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.heads import TargetModel
from automl_transfer.training.activation_cache import ActivationCache, DiskCache, MemoryCache
from automl_transfer.training.feature_bank import ResplitFeatures
from automl_transfer.transfer.build import build_plan

HEAD = Strategy.model_validate(
    {"source": "small", "truncation": 6, "taps": 2, "pool": 2, "transfer_depth": 8, "tune_mode": "closed_form",
     "head_init": "ridge", "ridge_lambda": 0.1, "norm_policy": "frozen"}
)  # fmt: skip
VIEWED = HEAD.model_copy(update={"augmentation": "affine", "views": 3})
TUNED = HEAD.model_copy(update={"tune_mode": "suffix", "freeze_depth": 4})


class Passes:
    """Counts images that go through whole networks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = 0
        features = TargetModel.features

        def counted(model: TargetModel, x: torch.Tensor, *rest: object) -> torch.Tensor:
            self.images += len(x)
            return features(model, x, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(TargetModel, "features", counted)


@pytest.mark.parametrize("strategy", [HEAD, VIEWED, TUNED], ids=["head", "views", "tuned"])
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_one_pass_serves_all_splits(
    task: LoadedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Strategy, where: str
) -> None:
    cache: ActivationCache = MemoryCache() if where == "memory" else DiskCache(tmp_path, 10**9)
    backbone, pool = small_backbone(), ResplitFeatures(task, cache)
    splits = [fresh_split(task, run, seed=0) for run in range(3)]
    expected = [
        build_plan(strategy, backbone, split, seed=run, device=CPU, views_seed=7)
        for run, split in enumerate(splits)
    ]
    passes = Passes(monkeypatch)
    found = [
        build_plan(strategy, backbone, split, seed=run, device=CPU, views_seed=7, known=pool)
        for run, split in enumerate(splits)
    ]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.model.state_dict(), other.model.state_dict())
    images = len(task.indices["train"]) + len(task.indices["validation"])
    assert passes.images == images * (3 if strategy is VIEWED else 1)
    weights = [plan.model.head.linear.weight for plan in found]
    assert not torch.allclose(weights[0], weights[1])


def test_a_changed_source_is_passed_every_time(task: LoadedTask) -> None:
    changed = HEAD.model_copy(update={"weight_scale": 2.0})
    pool = ResplitFeatures(task, MemoryCache())
    plans = [
        build_plan(changed, small_backbone(), task, seed=0, device=CPU, known=known) for known in (None, pool)
    ]
    assert torch.equal(plans[0].model.head.linear.weight, plans[1].model.head.linear.weight)


def test_without_room_every_split_has_its_own_pass(task: LoadedTask, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, split = ResplitFeatures(task, MemoryCache(0)), fresh_split(task, 0, seed=0)
    expected = build_plan(HEAD, small_backbone(), split, seed=0, device=CPU)
    passes = Passes(monkeypatch)
    found = build_plan(HEAD, small_backbone(), split, seed=0, device=CPU, known=pool)
    assert passes.images == len(split.indices["train"])
    assert torch.equal(found.model.head.linear.weight, expected.model.head.linear.weight)
    assert np.isfinite(found.model.head.linear.bias.numpy(force=True)).all()
