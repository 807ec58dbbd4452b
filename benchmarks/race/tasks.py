"""The race's tasks, with splits of its own: 40% of the images to test, so that figures are steady."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from stamps import fetch

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
from here import processors

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec

HERE = Path(__file__).resolve().parent
SPLITS = {"train": 0.4, "validation": 0.2, "test": 0.4}
TASKS: dict[str, dict[str, Any]] = {
    "digits-20": {"dataset": "digits?per_class=20", "resolution": 32},
    "mnist5k": {"dataset": "mnist5k", "resolution": 32},
    "mnist5k-20": {"dataset": "mnist5k?per_class=20", "resolution": 32},
    "textures-16": {"dataset": "textures?patch=16", "resolution": 32},
    "stamps-128": {"dataset": "stamps", "resolution": 128, "on_bad_image": "skip"},
}


def spec(name: str, seed: int) -> TaskSpec:
    """The task as a specification."""
    settings = dict(TASKS[name])
    if settings["dataset"] == "stamps":
        settings["dataset"] = str(fetch(HERE / "data" / "stamps"))
    return TaskSpec.model_validate({**settings, "splits": SPLITS, "seed": seed})


def load(name: str, seed: int) -> LoadedTask:
    """Its images."""
    return load_task(spec(name, seed))


def machine() -> dict[str, Any]:
    """What the cell runs on, with a yardstick: milliseconds of one training step of a fixed small network."""
    names = processors()
    network = torch.nn.Sequential(
        torch.nn.Conv2d(16, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3, padding=1)
    ).to(memory_format=torch.channels_last)
    images = torch.rand(64, 16, 32, 32).contiguous(memory_format=torch.channels_last)
    steps = []
    for _ in range(25):
        began = time.perf_counter()
        network(images).square().mean().backward()
        steps.append(1000 * (time.perf_counter() - began))
    return {
        "cpu": names[0] if names else "unknown", "cores": len(names), "threads": torch.get_num_threads(),
        "step_ms": round(statistics.median(steps), 2),
    }  # fmt: skip
