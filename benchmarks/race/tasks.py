"""The race's tasks, with splits of its own: 40% of the images to test, so that figures are steady."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stamps import fetch

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
