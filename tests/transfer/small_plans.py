"""A small network of five groups and a small real task, for tests that need no real weights."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import nn

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.transfer.build import build_plan
from automl_transfer.transfer.plan import TransferPlan

CPU = torch.device("cpu")


def small_backbone(pretrained: bool = True, seed: int = 0, in_channels: int = 1) -> Backbone:
    torch.manual_seed(seed)
    widths = (in_channels, 8, 12, 12, 16, 24)
    groups = [
        nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=1 + number % 2, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths))
    ]
    for group in groups:  # statistics and affine parameters as a trained network has them
        group[1].running_mean.normal_(0.0, 0.1)
        group[1].weight.data.uniform_(0.5, 1.5)
    return Backbone(
        "small",
        groups,
        ("stem", "block 1", "block 2", "block 3", "block 4"),
        in_channels=in_channels,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        resolution=16,
        pretrained=pretrained,
    ).eval()


def small_task(cache: Path, dataset: str = "digits?per_class=20", resolution: int = 16) -> LoadedTask:
    return load_task(TaskSpec(dataset=dataset, resolution=resolution), cache_root=cache)


def strategy(**changes: Any) -> Strategy:
    return Strategy.model_validate({"source": "small", "head_init": "zero", **changes})


def plan(
    task: LoadedTask, *, backbone: Backbone | None = None, seed: int = 0, **changes: Any
) -> TransferPlan:
    return build_plan(strategy(**changes), backbone or small_backbone(), task, seed=seed, device=CPU)
