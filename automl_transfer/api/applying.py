"""`apply`: a recipe's strategy trained on any data, and shipped."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_transfer.api.frames import Frame
from automl_transfer.api.offers import warn_of_flips
from automl_transfer.api.rerun import (
    OnEpoch,
    load_again,
    load_source,
    named_alike,
    recipe_of,
    require_classes,
    require_taken,
    scores_of,
    spec_of,
    train_again,
)
from automl_transfer.api.training import (
    calibration_of,
    check_new_folder,
    groups_in,
    recipe_alone,
    training_of,
    write_alone,
)
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.measured import Metric, score_of
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import Split, Task
from automl_transfer.errors import ConfigurationError
from automl_transfer.recipes.best_strategy import Recipe
from automl_transfer.recipes.scores import OverSeeds, RecipeMetrics, SeedScore
from automl_transfer.reporting.confirmed import Estimate, accuracy_interval
from automl_transfer.reporting.statistics import clopper_pearson, variance_of_mean
from automl_transfer.space.space import Space
from automl_transfer.training.making import split_logits

if TYPE_CHECKING:
    from automl_transfer.training.run import TrainingRun

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """A strategy trained on a task.

    Attributes:
        recipe: Of the shipped model; `recipe.metrics.seeds` has every seed's scores where there were
            several.
        model: The model folder, for `load`.
        seeds: The seeds of all trainings, in order; `scores` are theirs.
    """

    recipe: Recipe
    model: Path
    seeds: tuple[int, ...]
    scores: tuple[RecipeMetrics, ...]

    @property
    def test_accuracy(self) -> tuple[float, float] | None:
        """Mean and standard deviation over the seeds; None where there is no test split."""
        found = [score.test.accuracy for score in self.scores if score.test is not None]
        return (statistics.mean(found), statistics.pstdev(found)) if found else None


@dataclass(frozen=True)
class _Trained:
    run: TrainingRun
    metrics: RecipeMetrics
    seed: int
    seconds: float


def apply(
    recipe: Recipe | str | Path,
    dataset: str | TaskSpec | Frame | None,
    output: str | Path,
    *,
    images: str | PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    seeds: int = 1,
    source: str | None = None,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    on_epoch: OnEpoch = lambda seed, result: None,
) -> Applied:
    """Train a recipe's strategy on a task and write `best_strategy.json` and `model/` to a new folder.

    Depths are fractions, so that the source may be another one; classes, channels and resolution are
    those of the task. Of several seeds the best on validation by the task's metric is shipped, and so
    validation images are never trained on, also where the recipe's own model was refitted. Of a soup or an
    ensemble the best trial's strategy is trained; flips stay flips. Where nobody named the length of the
    recipe's training, that on other data is as long as suits their number.

    >>> apply("runs/quick/best_strategy.json", "photos/cats", "cats", seeds=3)  # doctest: +SKIP

    Args:
        recipe: Whose strategy is trained, or the file that says it.
        dataset: A name, a folder, an .npz, a table of labels, a data frame, or a task as `task_of` makes it;
            None for the recipe's own.
        output: A folder that does not exist yet; it appears whole.
        images: As for a search.
        columns: As for a search.
        seeds: Number of trainings, with seeds from the recipe's on.
        source: Another source, or where the recipe's local checkpoint lies.
        device: As for a search.
        data_root: As for a search.
        cache_root: As for a search.
        on_epoch: Told about each epoch with the seed.

    Raises:
        ConfigurationError: The file is no recipe, or another source cannot take what it asks for.
        OutputError: The folder exists or cannot be written.
        DataError: The data cannot be used, or the recipe's own data have other classes now.
        SourceError: The source is not on this machine, or its sha256 is not the recipe's.
    """
    output = Path(output)
    if seeds < 1:
        raise ConfigurationError(f"seeds must be >= 1, got {seeds}")
    recipe = recipe_of(recipe)
    check_new_folder(output)
    with spec_of(recipe, dataset, images, columns) as spec:
        task = load_again(recipe, spec, data_root, cache_root)
    if spec.dataset == recipe.task.name:
        require_classes(recipe, task)
    _warn_of_a_namesake(recipe, spec, task.task)
    recipe = _as_long_as_suits(recipe, task.task)
    if source is not None:
        recipe = recipe.model_copy(update={"strategy": recipe.strategy.model_copy(update={"source": source})})
        require_taken(recipe.strategy)
    backbone = load_source(recipe, source, task, same=source is None)
    Space((), recipe.strategy.active()).warn_of(task.task)
    if recipe.shipped_as is not None and recipe.shipped_as.flips:
        warn_of_flips(task.task)
    chosen: _Trained | None = None
    scores: list[RecipeMetrics] = []
    of_images: list[tuple[float, float] | None] = []
    numbers = tuple(range(recipe.training.seed, recipe.training.seed + seeds))
    for seed in numbers:
        run, seconds = train_again(recipe, task, backbone, seed, device, on_epoch, cache_root=cache_root)
        scores.append(scores_of(run))
        of_images.append(_variance_in_groups(run) if seeds > 1 else None)
        metric = task.task.metric
        if chosen is None or _rank(scores[-1], metric) > _rank(chosen.metrics, metric):
            chosen = _Trained(run, scores[-1], seed, seconds)
    assert chosen is not None
    over = _over_seeds(
        numbers, scores, spec.seed if recipe.task.split_seed is not None else None, [*filter(None, of_images)]
    )
    run, best = chosen.run, chosen.run.best
    written = recipe_alone(
        run,
        spec,
        training_of(
            run, recipe.training.horizon, chosen.seed, best_epoch=best.epoch if best is not None else None
        ),
        chosen.metrics.model_copy(update={"seeds": over}),
        chosen.seconds,
        recipe.provenance,
    )
    model = write_alone(output, run, backbone, written, calibration_of(run))
    return Applied(written, model, numbers, tuple(scores))


def _as_long_as_suits(recipe: Recipe, task: Task) -> Recipe:
    """The recipe with the length of training that suits other data than its own, where nobody named one."""
    training, horizon = recipe.training, Horizon.of(task.splits.train)
    changes: dict[str, Any] = {"by_data": recipe.by_data}
    if recipe.by_data and training.epochs and task.fingerprint != recipe.task.fingerprint:
        changes |= {"epochs": horizon.epochs, "passes": horizon.passes}
    return recipe.model_copy(update={"training": training.model_copy(update=changes)})


def _warn_of_a_namesake(recipe: Recipe, spec: TaskSpec, task: Task) -> None:
    """Say where data are read as the recipe's own for their name, and are not as these were."""
    read_alike = named_alike(recipe, Path(spec.dataset).name) and spec.channels == recipe.task.channels
    if read_alike and task.fingerprint != recipe.task.fingerprint:
        log.warning(
            "%s: these images have the name of the recipe's own, and are not as those were. They are read as "
            "those were, at %d pixels in %s: give other images another name, and their own resolution and "
            "channels are taken",
            spec.dataset,
            task.resolution,
            "gray" if task.channels == 1 else "colour",
        )


def _variance_in_groups(run: TrainingRun) -> tuple[float, float] | None:
    """`variance_of_mean` of the accuracy that counts over seeds, where the task has groups."""
    split: Split = "test" if len(run.task.indices["test"]) else "validation"
    groups = groups_in(run.task, split)
    if groups is None:
        return None
    right = split_logits(run, split).argmax(axis=1) == run.task.labels[run.task.indices[split]]
    return variance_of_mean(right.astype(float), groups)


def _over_seeds(
    seeds: tuple[int, ...],
    scores: list[RecipeMetrics],
    split_seed: int | None,
    in_groups: list[tuple[float, float]],
) -> OverSeeds | None:
    """Mean accuracy over seeds with a 95% interval; None for a single seed.

    All models were scored on the same n images, so the mean's variance is p (1 - p) / n for the images
    plus s^2 / S for S seeds of variance s^2: the interval of one model at the number of images that
    has this variance (`reporting.statistics.clopper_pearson`). In groups, the images' part is the mean of
    each model's variance over groups, and the interval is `confirmed.accuracy_interval`.
    """
    if len(seeds) < 2:
        return None
    judged = [score.test or score.validation for score in scores]
    values = [score.accuracy for score in judged]
    mean, n = statistics.mean(values), judged[0].n
    of_images = mean * (1.0 - mean) / n
    of_seeds = statistics.variance(values) / len(values)
    if in_groups:
        variance = statistics.mean(each for each, _ in in_groups) + of_seeds
        interval = accuracy_interval(Estimate(mean, variance, in_groups[0][1], len(seeds), n))
    else:
        effective = n if of_images == 0.0 else max(1, math.floor(n * of_images / (of_images + of_seeds)))
        interval = clopper_pearson(round(mean * effective), effective)
    return OverSeeds(
        runs=tuple(
            SeedScore(
                seed=seed,
                split_seed=split_seed,
                validation=score.validation.accuracy,
                test=score.test.accuracy if score.test else None,
            )
            for seed, score in zip(seeds, scores, strict=True)
        ),
        accuracy=mean,
        interval=interval,
    )


def _rank(metrics: RecipeMetrics, metric: Metric) -> tuple[float, float]:
    """How good a training is on validation: by the task's metric, then by its likelihood."""
    return score_of(metrics.validation, metric), -(metrics.validation.nll or 0.0)
