"""What a search's end, `apply` and `verify` share: what they write of a model, and what it gets wrong."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from automl_transfer import __version__, plugins
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.model_description import Calibration, ModelDescription
from automl_transfer.domain.normalisation import Constants, facts
from automl_transfer.domain.records import TrialOutcome
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.strict_json import validate
from automl_transfer.domain.task import Split
from automl_transfer.errors import ConfigurationError, OutputError
from automl_transfer.recipes.best_strategy import (
    Environment,
    Provenance,
    Recipe,
    RecipeSource,
    RecipeTraining,
    make_recipe,
    read_strategy,
    write_recipe,
)
from automl_transfer.recipes.model_folder import save_model
from automl_transfer.recipes.output import check_output_folder, is_taken, whole_folder, without_file
from automl_transfer.recipes.predict import Predictor
from automl_transfer.recipes.scores import Confirmed, Cost, RecipeMetrics, Score
from automl_transfer.recipes.shipped_as import ShippedAs
from automl_transfer.reporting.confirmed import validation_interval
from automl_transfer.reporting.errors_of_winner import WinnerErrors, WrongImage
from automl_transfer.reporting.judging import calibration_bins, confusion_cells, expected_error, thumbnail
from automl_transfer.reporting.membership import Membership, membership
from automl_transfer.reporting.ranking import Confirmation
from automl_transfer.reporting.statistics import Groups
from automl_transfer.training.calibration import log_likelihood, softmax
from automl_transfer.training.making import Judged, split_logits

if TYPE_CHECKING:
    from automl_transfer.data.task import LoadedTask
    from automl_transfer.models.network import Backbone
    from automl_transfer.store.values import StudyHandle
    from automl_transfer.training.evaluate import Scores
    from automl_transfer.training.run import TrainingRun


RECIPE, MODEL = "best_strategy.json", "model"
PACKAGES = ("torch", "torchvision", "timm", "optuna", "numpy", "pillow")


AnyStrategy = str | PathLike[str] | Strategy | Recipe | Mapping[str, Any]


def strategy_of_any(given: AnyStrategy) -> Strategy:
    """A strategy, however it is given: itself, its fields, a recipe, or a file as `read_strategy` takes it.

    Raises:
        ConfigurationError: It is none of them.
    """
    if isinstance(given, Strategy):
        return given
    if isinstance(given, Recipe):
        return given.strategy
    if isinstance(given, Mapping):
        return validate(Strategy, dict(given), "strategy")
    if isinstance(given, str | PathLike):
        return read_strategy(Path(given))
    raise ConfigurationError(
        "strategy must be a Strategy, its fields, a Recipe, or a file of one of them, "
        f"got {type(given).__name__}"
    )


def score_of(run: Judged, split: Literal["validation", "test"]) -> Score:
    """The model as it is now on a split of its task."""
    logits = split_logits(run, split)
    return scored(scores_of_split(run, split, logits), run.task, split, logits)


def scores_of_split(run: Judged, split: Literal["validation", "test"], logits: np.ndarray) -> Scores:
    """Scores of (n, classes) logits of the images of a split."""
    from automl_transfer.training.evaluate import scores
    from automl_transfer.training.robustness import withstood_by

    task, rows = run.task, run.task.indices[split]
    classes, metric = len(task.task.classes), task.task.metric
    withstood = withstood_by(run.model, task, rows, run.plan.normaliser(run.device))
    return scores(logits, task.labels[rows], classes, metric, withstood)


def scored(found: Scores, task: LoadedTask, split: Split, logits: np.ndarray) -> Score:
    """Scores of a split as they stand in a recipe: with the interval of their accuracy, by groups if any."""
    rows = task.indices[split]
    right = logits.argmax(axis=1) == task.labels[rows]
    interval = validation_interval(found.accuracy, len(rows), right, groups_in(task, split))
    return Score(**found.shares(), nll=found.nll, interval=interval, n=len(rows))


def groups_in(task: LoadedTask, split: Split) -> Groups | None:
    """(n,) the group of each image of a split; None without groups: duplicates alone are none."""
    if task.groups is None or task.together is None:
        return None
    return task.together[task.indices[split]]


def score_on_test(run: Judged) -> Score | None:
    """The model on the test split; None where the task has none."""
    return score_of(run, "test") if len(run.task.indices["test"]) else None


def source_facts(name: str, sha256: str | None) -> RecipeSource:
    """What a recipe says about a source."""
    from automl_transfer.models.registry import get_source

    info = get_source(name).info()
    return RecipeSource(name=name, revision=info.revision, sha256=sha256, licence=info.licence)


def write_results(
    folder: Path, run: Judged, backbone: Backbone, recipe: Recipe, calibration: Calibration | None
) -> None:
    """Write `model/` and `best_strategy.json`, replacing earlier ones."""
    task = run.task.task
    with without_file(folder / RECIPE):  # so that the folder is not taken for whole meanwhile
        save_model(
            folder / MODEL,
            run.model,
            architecture=backbone.architecture,
            in_channels=task.channels,
            resolution=run.task.side,
            classes=task.classes,
            normalisation=constants_of(run),
            pixel_range=task.pixel_range,
            fit=task.fit,
            recipe=recipe,
            calibration=calibration,
            replace=True,
        )
    write_recipe(folder / RECIPE, recipe)


def calibration_of(run: Judged, logits: np.ndarray | None = None) -> Calibration | None:
    """The temperature that fits the validation images; None for a model that was trained on them.

    A refitted model takes that of the model before: it has no images left to fit one on. `logits` are of the
    validation images, where they are known.
    """
    from automl_transfer.training.calibration import fit_temperature

    task, rows = run.task, run.task.indices["validation"]
    if not len(rows) or np.isin(rows, task.indices["train"]).any():
        return None
    if logits is None:
        logits = split_logits(run, "validation")
    if not np.isfinite(logits).all():
        return None
    found = fit_temperature(logits, task.labels[rows])
    return Calibration(
        temperature=found.temperature,
        images=found.images,
        nll_before=found.nll_before,
        nll_after=found.nll_after,
    )


def constants_of(run: Judged) -> Constants | None:
    """Mean and standard deviation that the plan normalises with; None for per-image normalisation."""
    if run.plan.mean is None or run.plan.std is None:
        return None
    return run.plan.mean, run.plan.std


def predictor_of(run: TrainingRun, backbone: Backbone, calibration: Calibration | None) -> Predictor:
    """The trained network as `load` would give it."""
    from automl_transfer.transfer.together import structure

    task = run.task.task
    description = ModelDescription(
        **structure(run.model, backbone.architecture),
        in_channels=task.channels,
        resolution=run.task.side,
        classes=task.classes,
        normalisation=facts(constants_of(run)),
        pixel_range=task.pixel_range,
        fit=task.fit,
        weights_sha256=run.weights_sha256(),
        calibration=calibration,
    )
    return Predictor(run.model, description, run.device)


def training_of(
    run: TrainingRun,
    horizon: Horizon,
    seed: int,
    *,
    best_epoch: int | None,
    refit: bool = False,
    conditions: Mapping[str, str | int | bool] | None = None,
) -> RecipeTraining:
    """What a recipe says of a run that has ended; its own conditions, unless others are given."""
    return RecipeTraining(
        epochs=0 if run.closed_form else horizon.epochs,
        passes=horizon.passes,
        steps=horizon.steps,
        by_data=horizon.by_data,
        best_epoch=best_epoch,
        batch=run.batch,
        seed=seed,
        refit=refit,
        weights_sha256=run.weights_sha256(),
        conditions=dict(run.conditions() if conditions is None else conditions),
    )


def recipe_alone(
    run: TrainingRun,
    spec: TaskSpec,
    training: RecipeTraining,
    metrics: RecipeMetrics,
    seconds: float,
    origin: Provenance | None = None,
) -> Recipe:
    """The recipe of a strategy that was trained without a study; `origin` says where it was found."""
    from automl_transfer.models.registry import get_source

    strategy = run.plan.strategy
    return make_recipe(
        strategy=strategy,
        task=run.task.task,
        spec=spec,
        normalisation=constants_of(run),
        source=source_facts(strategy.source, get_source(strategy.source).sha256()),
        training=training,
        metrics=metrics,
        cost=measured_cost(run, seconds),
        environment=environment(),
        shipped_as=_flipped(run),
        **({} if origin is None else origin.model_dump(exclude={"by"})),
    )


def _flipped(run: TrainingRun) -> ShippedAs | None:
    if not run.model.flips:
        return None
    return ShippedAs(kind="winner", flips=True, images=len(run.task.indices["validation"]))


def write_alone(
    output: Path, run: TrainingRun, backbone: Backbone, recipe: Recipe, calibration: Calibration | None
) -> Path:
    """Write `best_strategy.json` and `model/` to a new folder, which appears whole; returns the model's.

    Raises:
        OutputError: The folder exists, or cannot be written.
    """
    with whole_folder(output) as folder:
        write_results(folder, run, backbone, recipe, calibration)
    return output / MODEL


def check_new_folder(output: Path) -> None:
    """Refuse, before any work, a folder that `write_alone` could not make.

    Raises:
        OutputError: It exists, or cannot be written.
    """
    if is_taken(output):
        raise OutputError(f"the output must be a new folder, got {output}, which exists: choose another")
    check_output_folder(output)


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


WORST = 12
MOST_MEMBERS = 2000
"""Training images whose losses are compared with those of validation images."""


def winner_errors(
    run: Judged,
    logits: np.ndarray,
    study: StudyHandle,
    root_trial: int,
    *,
    test: Score | None,
    temperature: float = 1.0,
    shipped_as: str = "",
) -> WinnerErrors:
    """Confusion, calibration and the worst images of a trained model.

    On the validation split, so that nobody is led to tune on test images: of a winner that is refitted, as it
    was before it trained on them. Logits are divided by the temperature, so that probabilities are those that
    `predict` gives.
    """
    task, rows = run.task, run.task.indices["validation"]
    probabilities = softmax(logits, temperature)
    labels, answers = np.asarray(task.labels[rows]), probabilities.argmax(axis=1)
    cells = confusion_cells(labels, answers, len(task.task.classes))
    sure = probabilities[np.arange(len(rows)), answers]
    bins = calibration_bins(sure, answers == labels)
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:WORST]
    return WinnerErrors(
        study=study.name,
        identity=study.identity,
        root_trial=root_trial,
        split="validation",
        images=len(rows),
        classes=task.task.classes,
        confusion=tuple((each.truth, each.answer, each.images) for each in cells),
        calibration=bins,
        expected_calibration_error=expected_error(bins),
        wrong=len(wrong),
        worst=tuple(
            WrongImage(
                file=task.keys[rows[at]],
                truth=task.task.classes[labels[at]],
                answer=task.task.classes[answers[at]],
                probability=float(sure[at]),
                of_truth=float(probabilities[at, labels[at]]),
                thumbnail=thumbnail(task.images[rows[at]]),
            )
            for at in worst
        ),
        membership=_exposed(run, logits),
        test_accuracy=test.accuracy if test else None,
        test_interval=test.interval if test else None,
        test_images=test.n if test else 0,
        shipped_as=shipped_as,
    )


def _exposed(run: Judged, logits: np.ndarray) -> Membership | None:
    """The loss-threshold attack on training images, a sample of many; `logits` are of the validation images.

    None where a loss is not finite.
    """
    from automl_transfer.training.evaluate import predict_logits

    task, rows = run.task, run.task.indices["validation"]
    members = task.indices["train"]
    spread = np.linspace(0, len(members) - 1, min(MOST_MEMBERS, len(members))).astype(np.int64)
    normalise = run.plan.normaliser(run.device)
    trained = predict_logits(run.model, task.images, members[spread], normalise, run.device)
    losses = [
        -log_likelihood(each, task.labels[of]) for each, of in ((trained, members[spread]), (logits, rows))
    ]
    return membership(*losses) if all(np.isfinite(each).all() for each in losses) else None
