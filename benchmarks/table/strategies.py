"""The table's strategies: the same list for every task, laid over what the profile answered there.

Each begins at one of the task's first answers, which decides what it leaves open (source, cut, taps, resolution,
penalty), and changes some dimensions. The list is in the order in which it is worth having: the first ones
are recorded on all tasks before the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from automl_transfer.domain.dimensions import Dimension
from automl_transfer.domain.strategy import DIMENSIONS, Strategy, is_active
from automl_transfer.domain.task import Task
from automl_transfer.search.answers import FINETUNED
from automl_transfer.search.portfolio import PORTFOLIO
from automl_transfer.space.space import Space
from automl_transfer.space.study_file import preset_path, read_study

Answers = Mapping[str, Strategy]
"""First answers of a task by name: `profile`, `larger`, `views`, `tuned`, `default`."""
Laid = tuple[str, Mapping[str, Any]]
"""The answer that a strategy begins at, and what it changes."""

SCRATCH = {**FINETUNED, "source": "scratch", "rest_init": "he_normal", "crop": 1.0, "truncation": 8, "pool": 1,
           "taps": 1, "resolution_scale": 1.0}  # fmt: skip
WHOLE = PORTFOLIO["whole"]
NEAR, FAR = 10, 6
"""Draws around what is good, and anywhere in the space."""

_LAID: dict[str, Laid] = {
    "first: profile": ("profile", {}),
    "first: tuned": ("tuned", {}),
    "recipe: whole": ("tuned", WHOLE),
    "recipe: upper half, cropped": ("tuned", PORTFOLIO["upper half, cropped"]),
    "first: views": ("views", {}),
    "first: larger": ("larger", {}),
    "recipe: head first": ("tuned", PORTFOLIO["head first"]),
    "first: default": ("default", {}),
    "recipe: whole, gentler": ("tuned", PORTFOLIO["whole, gentler"]),
    "recipe: upper half": ("tuned", PORTFOLIO["upper half"]),
    "recipe: whole, mixed": ("tuned", PORTFOLIO["whole, mixed"]),
    "recipe: whole, distorted": ("tuned", PORTFOLIO["whole, distorted"]),
    "tuned, rate 3e-4": ("tuned", {"learning_rate": 3e-4}),
    "whole, not cropped": ("tuned", {**WHOLE, "crop": 1.0}),
    "tuned, all of it": ("tuned", {"freeze_depth": 0}),
    "scratch": ("default", SCRATCH),
    "tuned, norms train": ("tuned", {"norm_policy": "train"}),
    "whole, larger images": ("tuned", {**WHOLE, "resolution_scale": 2.0}),
    "head": ("tuned", {"tune_mode": "head", "learning_rate": 1e-3}),
    "tuned, rate 1e-3": ("tuned", {"learning_rate": 1e-3}),
    "whole, rate 3e-3": ("tuned", {**WHOLE, "learning_rate": 3e-3}),
    "tuned, rate 3e-5": ("tuned", {"learning_rate": 3e-5}),
    "head first, not cropped": ("tuned", {**PORTFOLIO["head first"], "crop": 1.0}),
    "tuned, fresh head": ("tuned", {"head_init": "he", "head_lr_mult": 1.0, "learning_rate": 1e-3}),
    "whole, rate 1e-4": ("tuned", {**WHOLE, "learning_rate": 1e-4}),
    "whole, norms frozen": ("tuned", {**WHOLE, "norm_policy": "frozen"}),
    "upper half, cropped, mixed": (
        "tuned", {**PORTFOLIO["upper half, cropped"], "mix": "mixup", "mix_alpha": 0.2}),
    "tuned, cropped": ("tuned", {"crop": 0.6, "mirror": True}),
    "whole to 6/8": ("tuned", {**WHOLE, "truncation": 6}),
    "tuned, three quarters frozen": ("tuned", {"freeze_depth": 6}),
    "norms alone": ("tuned", {"tune_mode": "norm", "learning_rate": 1e-3, "norm_policy": "train"}),
    "tuned, larger images": ("tuned", {"resolution_scale": 2.0}),
    "whole, batch 64": ("tuned", {**WHOLE, "batch": 64}),
    "tuned, SGD": ("tuned", {"optimizer": "sgd", "learning_rate": 1e-2}),
    "whole, stochastic norms": ("tuned", {**WHOLE, "stoch_norm": 0.25}),
    "profile, last features": ("profile", {"truncation": 8, "pool": 1, "taps": 1, "ridge_lambda": 10.0}),
    "tuned, low rank": ("tuned", {"tune_mode": "lora", "learning_rate": 1e-3}),
    "profile, penalty x 10": ("profile", {"ridge_lambda": 10.0}),
    "scratch, rate 3e-3": ("default", {**SCRATCH, "learning_rate": 3e-3}),
    "whole, shorter": ("tuned", {**WHOLE, "layer_decay": 0.75, "freeze_depth": 2, "tune_mode": "suffix"}),
}  # fmt: skip

RELATIVE = frozenset({"profile, penalty x 10"})
"""Those whose penalty is a factor of the profile's."""

REPEATED = (
    "first: tuned", "recipe: whole", "recipe: upper half, cropped", "recipe: head first", "first: default",
    "tuned, rate 3e-4", "recipe: whole, mixed", "scratch",
)  # fmt: skip
"""Recorded with three seeds: how much a repetition changes."""
SEEDS = 3


def quick_space() -> Space:
    """The space that a search has where nobody names one."""
    return Space.from_settings(read_study(preset_path("quick")).space)


def drawn() -> dict[str, Laid]:
    """Draws, always the same ones: some dimensions of an answer or recipe moved, or all of them at random."""
    generator = np.random.default_rng(20)
    found: dict[str, Laid] = {}
    starts: list[tuple[str, Mapping[str, Any]]] = [("tuned", {}), *(("tuned", r) for r in PORTFOLIO.values())]
    searched = quick_space().searched
    for number in range(NEAR):
        answer, recipe = starts[number % len(starts)]
        changes: dict[str, Any] = {}
        while len(changes) < 3:  # fewer may all be without effect
            changes = {
                each.name: _drawn(each, generator)
                for each in searched
                if generator.random() < 0.25 and each.name not in ("truncation", "taps", "pool")
            }
        found[f"near {number}"] = (answer, {**recipe, **changes})
    for number in range(FAR):
        found[f"far {number}"] = ("default", {each.name: _drawn(each, generator) for each in searched})
    return found


def _drawn(dimension: Dimension, generator: np.random.Generator) -> Any:
    if dimension.kind == "categorical":
        return dimension.choices[int(generator.integers(len(dimension.choices)))]
    if dimension.kind == "int":
        return int(generator.integers(int(dimension.low), int(dimension.high) + 1))
    low, high = np.log([dimension.low, dimension.high]) if dimension.log else (dimension.low, dimension.high)
    at = float(generator.uniform(low, high))
    return float(f"{np.exp(at) if dimension.log else at:.3g}")


def listed() -> dict[str, Laid]:
    """All of them by name, the most important ones first."""
    return {**_LAID, **drawn()}


def strategy(name: str, laid: Laid, answers: Answers, task: Task) -> Strategy:
    """A strategy of the list on a task; images are mirrored only where that changes no class."""
    answer, changes = laid
    start = answers[answer]
    values = {**start.model_dump(), **changes}
    if name in RELATIVE:
        values["ridge_lambda"] = min(1e6, start.ridge_lambda * changes["ridge_lambda"])
    if not task.may("mirror"):
        values["mirror"] = False
        values["augmentation"] = (
            "affine" if values["augmentation"] == "flip_affine" else values["augmentation"]
        )
    return Strategy.of(values)


def told(chosen: Strategy) -> dict[str, Any]:
    """What of a strategy differs from the defaults and has an effect: enough to make it again."""
    values = chosen.model_dump(mode="json")
    return {n: v for n, v in values.items() if is_active(n, values) and v != DIMENSIONS[n].default}
