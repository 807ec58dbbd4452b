"""`verify`: whether a recipe gives again what it says, and why it may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from automl_transfer.api.frames import Frame
from automl_transfer.api.rerun import (
    OnEpoch,
    load_again,
    load_source,
    recipe_of,
    require_classes,
    scores_of,
    spec_of,
    train_again,
)
from automl_transfer.api.rerun_parts import train_parts_again
from automl_transfer.api.training import environment
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import ConfigurationError, DataError
from automl_transfer.recipes.best_strategy import Recipe
from automl_transfer.recipes.scores import RecipeMetrics
from automl_transfer.training.making import Judged

if TYPE_CHECKING:
    from automl_transfer.training.run import TrainingRun


@dataclass(frozen=True)
class Verdict:
    """Whether a recipe gives again what it says.

    Attributes:
        word: `identical` (the same weights, bit for bit, as good as is said), `within` the tolerance, or
            `outside`.
        found: Of a refitted model `validation` is of images that it has trained on.
        differences: Conditions that are not those of the recipe, in words: why results may differ.
    """

    word: Literal["identical", "within", "outside"]
    expected: RecipeMetrics
    found: RecipeMetrics
    differences: tuple[str, ...]


def verify(
    recipe: Recipe | str | Path,
    dataset: str | TaskSpec | Frame | None = None,
    *,
    images: str | PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    source: str | None = None,
    tolerance: float = 0.01,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    on_epoch: OnEpoch = lambda seed, result: None,
) -> Verdict:
    """Train a recipe again on its own data and compare.

    >>> verify("runs/quick/best_strategy.json").word  # doctest: +SKIP
    'identical'

    Args:
        recipe: What is claimed, or the file that says it.
        dataset: Where its data lie, under whatever name; None looks for them by the recipe's own.
        images: As for a search.
        columns: As for a search.
        source: Where the source lies, for a recipe whose source is a local checkpoint.
        tolerance: Largest difference of validation and test accuracy that is `within`.
        device: As for a search. Conditions that differ from the recipe's are listed.
        data_root: As for a search.
        cache_root: As for a search.
        on_epoch: Told about each epoch with the seed.

    Raises:
        ConfigurationError: The file is no recipe, or the tolerance no difference in accuracy.
        DataError: The data are not those of the recipe.
        SourceError: The source's weights are not those of the recipe, or not on this machine.
    """
    from automl_transfer.training.state import sha256_of

    if not 0.0 <= tolerance <= 1.0:
        raise ConfigurationError(f"tolerance must lie in 0..1, got {tolerance}")
    recipe = recipe_of(recipe)
    with spec_of(recipe, dataset, images, columns, own=True) as spec:
        task = load_again(recipe, spec, data_root, cache_root)
    require_classes(recipe, task)
    if task.task.fingerprint != recipe.task.fingerprint:
        raise DataError(
            f"a recipe is verified on its own data (fingerprint {recipe.task.fingerprint[:12]}), got "
            f"{task.task.fingerprint[:12]} for {spec.dataset!r}: name the same data with --dataset (and "
            "the table of --group-from and the list of --exclude, if there were any), or use "
            "'automl-transfer apply' on other data"
        )
    training, shipped_as = recipe.training, recipe.shipped_as
    again: Judged
    if shipped_as is not None and shipped_as.parts:
        again, run = train_parts_again(recipe, shipped_as, task, source, device, on_epoch, cache_root)
    else:
        backbone = load_source(recipe, source, task, same=True)
        run, _ = train_again(
            recipe,
            task,
            backbone,
            training.seed,
            device,
            on_epoch,
            refit=training.refit,
            stop_after=training.best_epoch,
            cache_root=cache_root,
        )
        again = run
    found = scores_of(again)
    different = _differences(recipe, run)
    both = [(recipe.metrics.validation, found.validation), (recipe.metrics.test, found.test)]
    if training.refit:  # it was trained on the validation images
        both = both[1:]
    pairs = [(a, b) for a, b in both if a is not None and b is not None]
    near = all(abs(a.accuracy - b.accuracy) <= tolerance for a, b in pairs)
    if sha256_of(again.model) == training.weights_sha256:
        if near:
            return Verdict("identical", recipe.metrics, found, different)
        said = "the weights are the same, and their accuracy is not what the file says"
        return Verdict("outside", recipe.metrics, found, (said, *different))
    if not pairs:
        different = (*different, "a refit without a test split leaves no images to compare the accuracy on")
    return Verdict("within" if pairs and near else "outside", recipe.metrics, found, different)


def _differences(recipe: Recipe, run: TrainingRun) -> tuple[str, ...]:
    """Why the same recipe may give other weights here, in words."""
    from automl_transfer.training.conditions import differences

    then, now = recipe.training.conditions, run.conditions()
    found = differences(then, now) if then else ("the recipe states no conditions",)
    theirs, mine = recipe.environment, environment()
    for what in ("system", "machine"):
        was, here = getattr(theirs, what), getattr(mine, what)
        if was is not None and was != here:
            found += (f"{what} was {was}, is {here}",)
    return found + tuple(
        f"{name} was {was}, is {mine.versions.get(name, 'not installed')}"
        for name, was in theirs.versions.items()
        if mine.versions.get(name) != was and name not in then
    )
