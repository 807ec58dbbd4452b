"""A small table with curves that are made up: what is good is known beforehand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import stored
from strategies import listed, strategy, told

from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.answers import tuned_from
from automl_transfer.space.space import Space
from automl_transfer.space.study_file import preset_path, read_study

SETTINGS = read_study(preset_path("quick")).space
SPACE = Space.from_settings(SETTINGS)
SOLVED = Strategy(tune_mode="closed_form", truncation=6, pool=2, taps=3)
TUNED = tuned_from(SOLVED, SPACE, SETTINGS, "accuracy")
ANSWERS = {"profile": SOLVED, "tuned": TUNED, "default": SPACE.default()}


class _Task:
    def may(self, change: str) -> bool:
        return True


def facts(name: str = "made") -> dict[str, Any]:
    answers = {answer: told(chosen) for answer, chosen in ANSWERS.items()}
    return {
        "task": name, "fingerprint": "0" * 64, "classes": 4, "resolution": 32, "channels": 3, "mirror": True,
        "splits": {"train": 600, "validation": 200, "test": 400},
        "horizon": {"epochs": 9, "passes": 1, "steps": None}, "answers": answers,
        "answer_seconds": {"profile": 1.0, "rest": 1.0},
    }  # fmt: skip


def quality(chosen: Strategy) -> float:
    """Best near a rate of 1e-3, trained whole; a solved head has .8."""
    if chosen.tune_mode == "closed_form":
        return 0.8
    whole = 0.1 if chosen.tune_mode == "full" else 0.05
    return 0.85 + whole - 0.06 * abs(math.log10(chosen.learning_rate) + 3.0)


def cell(name: str, chosen: Strategy, seed: int = 0, slow: float = 1.0) -> stored.Cell:
    closed = chosen.tune_mode == "closed_form"
    epochs = 1 if closed else 9
    end = quality(chosen) + 0.01 * float(np.random.default_rng([seed, len(name)]).normal())
    curve = [round(end * (0.7 + 0.3 * (e + 1) / epochs), 4) for e in range(epochs)]
    seconds = (0.5 if closed else slow * (2.0 if chosen.tune_mode == "full" else 1.0),) * epochs
    losses, test = tuple(2 - v for v in curve), tuple(v - 0.02 for v in curve)
    return stored.Cell(name, seed, chosen, 0.5, seconds, tuple(curve), losses, test)


def cells(least: int = 40) -> list[stored.Cell]:
    task: Any = _Task()
    found: dict[Any, stored.Cell] = {}
    for name, laid in listed().items():
        if laid[0] in ANSWERS:
            made = cell(name, strategy(name, laid, ANSWERS, task))
            found.setdefault(made.key, made)
    return list(found.values())[:least]


def record(folder: Path, name: str = "made") -> Path:
    """A folder as the recorder leaves it."""
    place = folder / name
    place.mkdir(parents=True)
    stored.write_whole(place / "task.json", facts(name))
    for one in cells():
        stored.append(place / "cells.jsonl", one.document())
    return place
