"""Weights of images in training by gradient: an image of weight 3 counts as if it were there three times."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import CPU, make_run, small_backbone
from torch.nn import functional as F

from automl_transfer.data.folds import fresh_split
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.strategy import Strategy
from automl_transfer.training import making
from automl_transfer.training.loss import Loss, counted, uncounted
from automl_transfer.transfer.terms.co_tuning import relationship
from automl_transfer.transfer.terms.mixup import Mixup


@pytest.fixture
def weighted(task: LoadedTask) -> LoadedTask:
    """Weights 1 to 3 over the images."""
    return dataclasses.replace(task, weights=1.0 + np.arange(len(task.labels)) % 3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"class_weights": True, "label_smoothing": 0.1},
        {"anchor": "delta", "anchor_weight": 10.0},
    ],
)
def test_whole_weights_train_as_repeated_images_do(weighted: LoadedTask, changes: dict[str, Any]) -> None:
    rows = weighted.indices["train"]
    assert weighted.weights is not None
    again = np.repeat(rows, weighted.weights[rows].astype(int))
    repeated = dataclasses.replace(weighted, weights=None, indices={**weighted.indices, "train": again})
    given = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1, "schedule": "constant"}
    runs = [
        make_run(each, backbone=small_backbone(norms=False), max_epochs=3, batch=500, **given, **changes)
        for each in (weighted, repeated)
    ]
    for one, other in zip(*(list(run.epochs()) for run in runs), strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
    for left, right in zip(*(run.model.state_dict().values() for run in runs), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


def test_parts_of_a_weighted_step_add_up_to_it(weighted: LoadedTask) -> None:
    given = {
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "backbone": small_backbone(norms=False),
        "max_epochs": 1,
    }
    whole, parts = (
        make_run(weighted, batch=batch, accumulate=parts, **given) for batch, parts in ((64, 1), (16, 4))
    )
    (one,), (other,) = whole.epochs(), parts.epochs()
    assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)


def test_an_interrupted_weighted_run_ends_with_the_same_bits(weighted: LoadedTask, tmp_path: Path) -> None:
    given: dict[str, Any] = {"mix": "mixup", "class_weights": True, "max_epochs": 3}
    whole, first, second = (make_run(weighted, **given) for _ in range(3))
    plain = make_run(dataclasses.replace(weighted, weights=None), **given)
    list(whole.epochs())
    list(plain.epochs())
    next(first.epochs())
    first.save(tmp_path / "state")
    assert second.restore(tmp_path / "state").identical
    list(second.epochs())
    assert second.weights_sha256() == whole.weights_sha256() != plain.weights_sha256()


def test_a_mixture_counts_by_what_it_is_mixed_of() -> None:
    torch.manual_seed(0)
    labels, counts, logits = torch.arange(6) % 3, torch.arange(1.0, 7.0), torch.randn(6, 3)
    term = Mixup(0.5)
    targets = counted(labels, 3, counts)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        _, mixed = term.batch((torch.zeros(6, 1), None), targets)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        share = float(torch.distributions.Beta(0.5, 0.5).sample())
        partner = torch.randperm(6)
    shares, own = uncounted(mixed, counts)
    assert own is not None
    torch.testing.assert_close(shares.sum(1), torch.ones(6))
    each = [
        counts * F.cross_entropy(logits, labels, reduction="none"),
        counts[partner] * F.cross_entropy(logits, labels[partner], reduction="none"),
    ]
    expected = (share * each[0] + (1.0 - share) * each[1]).sum() / counts.sum()
    torch.testing.assert_close(Loss(0.0, None)(logits, shares, counts.sum(), own), expected)


def test_source_classes_that_stand_for_a_class_are_a_weighted_mean() -> None:
    answers, labels, counts = torch.rand(9, 4), np.arange(9) % 2, torch.arange(1, 10)
    expected = relationship(answers.repeat_interleave(counts, 0), labels.repeat(counts.numpy()), 3)
    torch.testing.assert_close(relationship(answers, labels, 3, counts.double()), expected)


def test_images_of_weight_zero_are_trained_on_neither_in_folds_nor_after_a_refit(task: LoadedTask) -> None:
    weights = np.ones(len(task.labels))
    nothing = task.indices["validation"][::2]
    weights[nothing] = 0.0
    weighted = dataclasses.replace(task, weights=weights)
    for number in range(3):
        split = fresh_split(weighted, number, seed=0)
        assert not set(nothing) & set(split.indices["train"])
        assert set(nothing) & set(split.indices["validation"])
    run = making.make_run(
        Strategy(source="small", head_init="zero"),
        weighted,
        small_backbone(),
        horizon=Horizon(1),
        seed=0,
        device=CPU,
        refit=True,
    )
    both = len(task.indices["train"]) + len(task.indices["validation"])
    assert len(run.task.indices["train"]) == both - len(nothing)
