"""What a search's end, `apply` and `verify` share: a strategy trained to its end, and its scores."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

import numpy as np

from automl_transfer import __version__
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.records import EpochResult
from automl_transfer.recipes.best_strategy import Score
from automl_transfer.recipes.normalisation import Constants
from automl_transfer.reporting.statistics import wilson

if TYPE_CHECKING:
    from automl_transfer.training.run import TrainingRun

PACKAGES = ("torch", "torchvision", "timm", "optuna", "numpy")


def with_validation(task: LoadedTask) -> LoadedTask:
    """The task with the validation images among those to train on."""
    both = np.sort(np.concatenate([task.indices["train"], task.indices["validation"]]))
    return dataclasses.replace(task, indices={**task.indices, "train": both})


def train_to_the_end(
    run: TrainingRun,
    *,
    stop_after: int | None = None,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
) -> None:
    """Train a run, and leave the weights of its best epoch; with `stop_after`, of that epoch."""
    for result in run.epochs():
        on_epoch(result)
        if result.epoch == stop_after:
            break
    if stop_after is None:
        run.load_best()
    run.model.eval()


def score_of(run: TrainingRun, split: Literal["validation", "test"]) -> Score:
    """The model as it is now on a split of its task."""
    from automl_transfer.training.evaluate import predict_logits, scores

    task, rows = run.task, run.task.indices[split]
    logits = predict_logits(run.model, task.images, rows, run.plan.normaliser(run.device), run.device)
    found = scores(logits, task.labels[rows], len(task.task.classes))
    return Score(
        accuracy=found.accuracy,
        balanced_accuracy=found.balanced_accuracy,
        macro_f1=found.macro_f1,
        nll=found.nll,
        interval=wilson(round(found.accuracy * len(rows)), len(rows)),
        n=len(rows),
    )


def constants_of(run: TrainingRun) -> Constants | None:
    """Mean and standard deviation that the plan normalises with; None for per-image normalisation."""
    if run.plan.mean is None or run.plan.std is None:
        return None
    return run.plan.mean, run.plan.std


def versions() -> dict[str, str]:
    """Versions of everything that results depend on, as far as it is installed."""
    found = {"automl-transfer": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
