"""The strategies that first answers are made of: plain functions of a profile's answer and a space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.measured import BALANCED
from automl_transfer.domain.spec import DimensionSetting
from automl_transfer.domain.strategy import Strategy, is_active
from automl_transfer.domain.task import Task
from automl_transfer.knowledge.portfolio import OF_PROFILE
from automl_transfer.space.space import Space

TUNED_ON = {"freeze_depth": 4, "head_lr_mult": 0.03}
"""How training goes on from a solved head without destroying it (docs/performance.md)."""
FINETUNED: Mapping[str, Any] = {
    "tune_mode": "full",
    "norm_policy": "train",
    "head_init": "he",
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "head_lr_mult": 1.0,
    "layer_decay": 1.0,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup": 0.1,
    "batch": 32,
    "label_smoothing": 0.1,
    "crop": 0.5,
}
"""Fine-tuning of a whole network, as photographs of things want it."""
JUDGED_LARGER: Mapping[str, Any] = {"resolution_scale": 1.25, "detail": True, "train_scale": 0.8}
"""Crops train at the side that the task states, and images are judged larger, with what files have: things
look larger in a crop than in the whole image, by as much (Touvron et al. 2019, FixRes). Training takes no
longer. It gains where images show things, and loses on surfaces (`benchmarks/photos/judged.py`)."""
LARGE_SIDE, LARGE_STEPS = 96, 64
"""Pixels a side from which images are large, and the steps of training that these need at least."""
MANY_STEPS = 500
"""Steps from which images of any size are many enough: BiT's shortest schedule (Kolesnikov et al. 2020)."""
MOST_VIEWS = 16


def tuned_from(
    best: Strategy, space: Space, settings: Mapping[str, DimensionSetting], metric: str
) -> Strategy:
    """The strategy that trains the upper half on from a profile's answer, gently.

    It lies in the space, except that its head reads what the profile's does where the study allows that
    cut and does not name what a head reads, and that its loss suits the metric as that head does.

    The head starts as the solved one. Adam moves every weight of it by the rate at each step, whatever
    its gradient; with thousands of features that adds up to other logits, so the head's rate is a small
    part of the body's, and falls with their number.
    """
    suited = suited_to(metric)
    kept = {name: getattr(best, name) for name in OF_PROFILE}
    tuned = space.nearest({**kept, **TUNED_ON, **suited})
    free: dict[str, Any] = dict(suited)
    if tuned.truncation == best.truncation:
        reads = {name: getattr(best, name) for name in ("taps", "resolution_scale", "detail")}
        free |= {**reads, "head_rate": "fan_in"}
    free = {name: value for name, value in free.items() if name not in settings}
    return Strategy.model_validate({**tuned.model_dump(), **free}).canonical()


def finetuned_from(
    best: Strategy,
    space: Space,
    settings: Mapping[str, DimensionSetting],
    task: Task,
    horizon: Horizon,
) -> Strategy | None:
    """The whole network trained under a fresh head, on another crop of each image in every pass.

    It lies in the space, as far as the study names dimensions; the others are `FINETUNED`. None where the
    study does not let the whole network train, or the images are too few or too small for it.
    """
    # Passing over few images many times makes them no more.
    seen = replace(horizon, passes=1).images(task.splits.train, min(FINETUNED["batch"], task.splits.train))
    steps = seen // FINETUNED["batch"]
    large = task.resolution >= LARGE_SIDE and steps >= LARGE_STEPS
    if not large and steps < MANY_STEPS:
        return None
    wanted = {
        **FINETUNED,
        **suited_to(task.metric),
        "source": best.source,
        "normalise": best.normalise,
        "mirror": task.may("mirror"),
    }
    inside = space.nearest(wanted).model_dump()
    free = {name: value for name, value in wanted.items() if name not in settings}
    found = Strategy.model_validate({**inside, **free}).canonical()
    return found if found.tune_mode == FINETUNED["tune_mode"] else None


def judged_larger(whole: Strategy, fixed: Mapping[str, Any]) -> Strategy | None:
    """The same network, judged on larger images than it trains on; None where a study fixes that otherwise.

    Like what a profile finds, it may lie outside of the sizes that a study searches.
    """
    if whole.crop == 1.0 or whole.resolution_scale != 1.0:
        return None
    found = whole.model_copy(update=dict(JUDGED_LARGER)).canonical()
    return found if keeps(found, fixed) else None


def suited_to(metric: str) -> dict[str, Any]:
    """What a training loss needs where the metric counts all classes alike; a solved head does so itself."""
    return {"class_weights": True} if metric in BALANCED else {}


def fixed_by(settings: Mapping[str, DimensionSetting], space: Space) -> dict[str, Any]:
    """The dimensions that a study names with one value."""
    return {name: space.fixed[name] for name in settings if name in space.fixed}


def keeps(strategy: Strategy, fixed: Mapping[str, Any]) -> bool:
    """Whether a strategy has each of these values, where it has an effect."""
    values = strategy.model_dump()
    return all(values[name] == value for name, value in fixed.items() if is_active(name, values))
