"""The studies of the benchmark: what a person would type to search on each task."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1]
PRESET = BENCHMARKS.parent / "studies" / "quick.toml"
RESOLUTION = 128

PHOTOGRAPHS = ("clothing", "signs", "tiles", "stamps", "openclipart-png", "ufoai-textures")
RACE = ("digits-20", "mnist5k", "mnist5k-20", "textures-16", "stamps-128")
SMALL: dict[str, dict[str, Any]] = {
    "digits": {"dataset": "digits?per_class=40"},
    "textures": {"dataset": "textures?patch=16", "resolution": 32},
    "mnist": {"dataset": "mnist5k?per_class=40", "resolution": 32},
}
"""To try it out; no part of the figures."""


@cache
def _module(name: str, file: Path) -> ModuleType:
    """Both folders have a `tasks.py`."""
    sys.path.append(str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def needs_folder(task: str) -> bool:
    """Whether its pictures are in a folder that must be given."""
    return task in ("clothing", "signs", "tiles")


def photographs_cell(task: str, seed: int, minutes: float) -> Path:
    """Where `photos.py` keeps its search of a task: the very command that would be run here."""
    return Path(_photographs().cell_file(task, "ours", seed, minutes))


def _photographs() -> ModuleType:
    return _module("photo_tasks", BENCHMARKS / "photos" / "tasks.py")


def arguments_of(task: str, seed: int, photos: Path | None) -> list[str]:
    """What follows `automl-transfer search`, but for time and places."""
    settings: dict[str, Any] = {"task.seed": seed, "search.seed": seed}
    if task in PHOTOGRAPHS:
        tasks = _photographs()
        file, images = tasks.table(task, seed, photos)
        settings["task.resolution"] = RESOLUTION
        settings["task.label_preserving"] = json.dumps(list(tasks.TASKS[task].flips))
        return [str(file), "--images", str(images), "--preset", "quick", *_set(settings)]
    if task in RACE:
        spec = _module("race_tasks", BENCHMARKS / "race" / "tasks.py").spec(task, seed)
        plain = {name: getattr(spec, name) for name in ("dataset", "resolution", "on_bad_image")}
        settings |= {f"task.{name}": value for name, value in plain.items()}
        settings |= {f"task.splits.{name}": value for name, value in spec.splits.model_dump().items()}
    else:
        settings |= {f"task.{name}": value for name, value in SMALL[task].items()}
    return [str(PRESET), *_set(settings)]


def _set(settings: dict[str, Any]) -> list[str]:
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
