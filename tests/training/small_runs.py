"""Small networks and a small real task, for training runs that take a fraction of a second."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import Precision, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.training.activation_cache import ActivationCache
from automl_transfer.training.crew import Crew
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import build_plan

CPU = torch.device("cpu")
SPEC = TaskSpec(dataset="digits?per_class=20", resolution=16)


class Limited(nn.Module):
    """A layer that has memory for so many images only, as a device has."""

    def __init__(self, most: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.most, self.error, self.from_call, self.calls = most, error, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        if self.training and self.calls > self.from_call and len(x) > self.most:
            if self.error is RuntimeError:
                raise RuntimeError(
                    "[enforce fail at alloc_cpu.cpp:100] DefaultCPUAllocator: can't allocate memory"
                )
            raise self.error(f"no memory for {len(x)} images")
        return x


class Block(nn.Module):
    """A residual block, with the place where timm drops its branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.drop_path = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.drop_path(self.conv(x))
        return x + branch


def small_backbone(
    *,
    norms: bool = True,
    dropout: float = 0.0,
    extra: nn.Module | None = None,
    residual: bool = False,
    source_classes: int = 0,
) -> Backbone:
    torch.manual_seed(0)
    groups = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise((1, 8, 12, 16))):
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride=1 + number % 2, padding=1)]
        layers += [nn.BatchNorm2d(outputs)] if norms else []
        layers += [nn.ReLU()] + ([nn.Dropout(dropout)] if dropout else [])
        layers += [Block(outputs)] if residual else []
        groups.append(nn.Sequential(*layers))
    if extra is not None:
        groups[-1].append(extra)
    return Backbone(
        "small",
        groups,
        ("stem", "block 1", "block 2"),
        in_channels=1,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        resolution=16,
        pretrained=True,
        source_head=nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(16, source_classes)
        ).eval()
        if source_classes
        else None,
    ).eval()


def strategy(**changes: Any) -> Strategy:
    defaults = {"source": "small", "tune_mode": "full", "head_init": "zero", "head_lr_mult": 1.0, "pool": 4}
    return Strategy.model_validate(
        {**defaults, "learning_rate": 3e-3, "norm_policy": "train", "batch": 32, **changes}
    )


def make_run(
    task: LoadedTask,
    *,
    max_epochs: int = 4,
    seed: int = 0,
    backbone: Backbone | None = None,
    batch: int | None = None,
    accumulate: int = 1,
    cache: ActivationCache | None = None,
    precision: Precision = "fp32",
    device: torch.device = CPU,
    crew: Crew | None = None,
    **changes: Any,
) -> TrainingRun:
    plan = build_plan(strategy(**changes), backbone or small_backbone(), task, seed=seed, device=device)
    return TrainingRun(
        plan,
        task,
        max_epochs=max_epochs,
        seed=seed,
        device=device,
        batch=batch,
        accumulate=accumulate,
        cache=cache,
        crew=crew,
        precision=precision,
    )


def small_task(cache: Path) -> LoadedTask:
    return load_task(SPEC, cache_root=cache)
