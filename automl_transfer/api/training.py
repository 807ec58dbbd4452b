"""What a search's end, `apply` and `verify` share: what they write of a strategy that was trained."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from automl_transfer import __version__, plugins
from automl_transfer.domain.model_description import Calibration
from automl_transfer.domain.normalisation import Constants
from automl_transfer.domain.records import TrialOutcome
from automl_transfer.recipes.best_strategy import Environment, Recipe, RecipeSource, write_recipe
from automl_transfer.recipes.model_folder import save_model
from automl_transfer.recipes.scores import Confirmed, Cost, Score
from automl_transfer.reporting.ranking import Confirmation
from automl_transfer.reporting.statistics import clopper_pearson

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone
    from automl_transfer.training.run import TrainingRun

RECIPE, MODEL = "best_strategy.json", "model"
PACKAGES = ("torch", "torchvision", "timm", "optuna", "numpy", "pillow")


def score_of(run: TrainingRun, split: Literal["validation", "test"]) -> Score:
    """The model as it is now on a split of its task."""
    from automl_transfer.training.evaluate import predict_logits, scores

    task, rows = run.task, run.task.indices[split]
    logits = predict_logits(run.model, task.images, rows, run.plan.normaliser(run.device), run.device)
    found = scores(logits, task.labels[rows], len(task.task.classes), task.task.metric)
    return Score(
        **found.shares(),
        nll=found.nll,
        interval=clopper_pearson(round(found.accuracy * len(rows)), len(rows)),
        n=len(rows),
    )


def score_on_test(run: TrainingRun) -> Score | None:
    """The model on the test split; None where the task has none."""
    return score_of(run, "test") if len(run.task.indices["test"]) else None


def source_facts(name: str, sha256: str | None) -> RecipeSource:
    """What a recipe says about a source."""
    from automl_transfer.models.registry import get_source

    info = get_source(name).info()
    return RecipeSource(name=name, revision=info.revision, sha256=sha256, licence=info.licence)


def write_results(
    folder: Path, run: TrainingRun, backbone: Backbone, recipe: Recipe, calibration: Calibration | None
) -> None:
    """Write `model/` and `best_strategy.json`, replacing earlier ones."""
    task = run.task.task
    # Without a recipe the folder is not taken for whole, should this process end between the two.
    (folder / RECIPE).unlink(missing_ok=True)
    save_model(
        folder / MODEL,
        run.model,
        architecture=backbone.architecture,
        in_channels=task.channels,
        resolution=task.resolution,
        classes=task.classes,
        normalisation=constants_of(run),
        pixel_range=task.pixel_range,
        recipe=recipe,
        calibration=calibration,
        replace=True,
    )
    write_recipe(folder / RECIPE, recipe)


def calibration_of(run: TrainingRun, *, refit: bool) -> Calibration | None:
    """The temperature that fits the validation images; None for a model that was trained on them."""
    from automl_transfer.training.calibration import fit_temperature
    from automl_transfer.training.evaluate import predict_logits

    task, rows = run.task, run.task.indices["validation"]
    if refit or not len(rows) or np.isin(rows, task.indices["train"]).any():
        return None
    logits = predict_logits(run.model, task.images, rows, run.plan.normaliser(run.device), run.device)
    if not np.isfinite(logits).all():
        return None
    found = fit_temperature(logits, task.labels[rows])
    return Calibration(
        temperature=found.temperature,
        images=found.images,
        nll_before=found.nll_before,
        nll_after=found.nll_after,
    )


def constants_of(run: TrainingRun) -> Constants | None:
    """Mean and standard deviation that the plan normalises with; None for per-image normalisation."""
    if run.plan.mean is None or run.plan.std is None:
        return None
    return run.plan.mean, run.plan.std


def cost_of(outcome: TrialOutcome) -> Cost:
    """What a trial measured, as it stands in a recipe."""
    return Cost(
        train_seconds=outcome.train_seconds,
        predict_ms_per_image=outcome.predict_ms_per_image,
        parameters=outcome.parameters,
        trained_parameters=outcome.trained_parameters,
    )


def confirmed_of(found: Confirmation | None) -> Confirmed | None:
    """A confirmation, as it stands in a recipe."""
    if found is None:
        return None
    return Confirmed(accuracy=found.accuracy, interval=found.interval, runs=found.runs, images=found.images)


def measured_cost(run: TrainingRun, seconds: float) -> Cost:
    """The cost of a run that has ended; `seconds` is what its epochs took."""
    from automl_transfer.training.evaluate import measure_latency

    latency = measure_latency(run.model, run.task.images, run.plan.normaliser(run.device), run.device)
    return Cost(
        train_seconds=seconds,
        predict_ms_per_image=latency,
        parameters=run.plan.parameters,
        trained_parameters=run.plan.trained_parameters,
    )


def environment() -> Environment:
    """The kind of this machine, and the versions of everything that results depend on."""
    versions = {**plugins.used(), "automl-transfer": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Environment(system=platform.system(), machine=platform.machine(), versions=versions)
