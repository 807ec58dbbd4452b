"""A recipe run again: `verify` on the data it was found on, `apply` on any data."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from automl_transfer.api.training import (
    constants_of,
    make_run,
    score_of,
    score_on_test,
    source_facts,
    train_to_the_end,
    versions,
    write_results,
)
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.records import EpochResult
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import DataError, OutputError, SourceError
from automl_transfer.recipes.best_strategy import Recipe, RecipeMetrics, make_recipe
from automl_transfer.recipes.nothing_local import CHECKPOINT
from automl_transfer.recipes.output import check_output_folder, whole_folder
from automl_transfer.recipes.strict_json import validate

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone
    from automl_transfer.training.run import TrainingRun

OnEpoch = Callable[[int, EpochResult], None]


@dataclass(frozen=True)
class Verdict:
    """Whether a recipe gives again what it says.

    Attributes:
        word: `identical` (the same weights, bit for bit), `within` the tolerance, or `outside`.
        differences: Conditions that are not those of the recipe, in words: why results may differ.
    """

    word: Literal["identical", "within", "outside"]
    expected: RecipeMetrics
    found: RecipeMetrics
    differences: tuple[str, ...]


@dataclass(frozen=True)
class Applied:
    """A strategy trained on other data: one pair of scores a seed, and the seed that was shipped."""

    recipe: Recipe
    seeds: tuple[int, ...]
    scores: tuple[RecipeMetrics, ...]

    @property
    def test_accuracy(self) -> tuple[float, float] | None:
        """Mean and standard deviation over the seeds; None where there is no test split."""
        found = [score.test.accuracy for score in self.scores if score.test is not None]
        return (statistics.mean(found), statistics.pstdev(found)) if found else None


def task_of(recipe: Recipe, dataset: str | None, **changes: object) -> TaskSpec:
    """The specification of the recipe's task, or of another dataset, which chooses its own resolution.

    Args:
        recipe: What is run again.
        dataset: A name, a folder or an .npz; None for the recipe's own.
        changes: Fields to set: `resolution`, `seed`, `group_from`, `on_bad_image`.

    Raises:
        ConfigurationError: A field's value cannot be.
    """
    theirs = recipe.task
    given = {name: value for name, value in changes.items() if value is not None}
    values: dict[str, object] = {"dataset": dataset or theirs.name, "metric": theirs.metric}
    if theirs.split_seed is not None:
        values["seed"] = theirs.split_seed
    if theirs.split_fractions is not None:
        values["splits"] = theirs.split_fractions.model_dump()
    if dataset is None or Path(dataset).name == theirs.name:
        values |= {"resolution": theirs.resolution, "channels": theirs.channels}
    return validate(TaskSpec, values | given, "the task")


def verify(
    recipe: Recipe,
    spec: TaskSpec,
    *,
    source: str | None = None,
    tolerance: float = 0.01,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    on_epoch: OnEpoch = lambda seed, result: None,
) -> Verdict:
    """Train a recipe again on its own data and compare.

    Args:
        recipe: What is claimed.
        spec: Its task (`task_of`).
        source: Where the source lies, for a recipe whose source is a local checkpoint.
        tolerance: Largest difference of validation and test accuracy that is `within`.
        device: As for a search. Conditions that differ from the recipe's are listed.
        data_root: As for a search.
        cache_root: As for a search.
        on_epoch: Told about each epoch with the seed.

    Raises:
        DataError: The data are not those of the recipe.
        SourceError: The source's weights are not those of the recipe, or not on this machine.
    """
    from automl_transfer.training.conditions import differences

    task = load_task(spec, data_root=data_root, cache_root=cache_root)
    if task.task.fingerprint != recipe.task.fingerprint:
        raise DataError(
            f"a recipe is verified on its own data (fingerprint {recipe.task.fingerprint[:12]}), got "
            f"{task.task.fingerprint[:12]} for {spec.dataset!r}: name the same data with --dataset, or use "
            "'automl-transfer apply' on other data"
        )
    backbone, training = _load(recipe, source, task, same=True), recipe.training
    run = _train(recipe, task, backbone, training.seed, device, on_epoch, refit=training.refit)
    found = _scores(run)
    then, conditions = recipe.training.conditions, run.conditions()
    different = differences(then, conditions) if then else ("the recipe states no conditions",)
    mine = versions()
    different += tuple(
        f"{name} was {theirs}, is {mine.get(name, 'not installed')}"
        for name, theirs in recipe.provenance.versions.items()
        if mine.get(name) != theirs and name not in then
    )
    if run.weights_sha256() == recipe.training.weights_sha256:
        return Verdict("identical", recipe.metrics, found, different)
    pairs = [(recipe.metrics.validation, found.validation), (recipe.metrics.test, found.test)]
    if recipe.training.refit:  # it was trained on the validation images
        pairs = pairs[1:]
    near = all(abs(a.accuracy - b.accuracy) <= tolerance for a, b in pairs if a is not None and b is not None)
    return Verdict("within" if near else "outside", recipe.metrics, found, different)


def apply(
    recipe: Recipe,
    spec: TaskSpec,
    output: Path,
    *,
    seeds: int = 1,
    source: str | None = None,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    on_epoch: OnEpoch = lambda seed, result: None,
) -> Applied:
    """Train a recipe's strategy on a task and write `best_strategy.json` and `model/` to a new folder.

    Depths are fractions, so that the source may be another one; classes, channels and resolution are
    those of the task. Of several seeds the best on validation is shipped, and so validation images are
    never trained on, also where the recipe's own model was refitted.

    Args:
        recipe: Whose strategy is trained.
        spec: The data.
        output: A folder that does not exist yet; it appears whole.
        seeds: Number of trainings, with seeds from the recipe's on.
        source: Another source, or where the recipe's local checkpoint lies.
        device: As for a search.
        data_root: As for a search.
        cache_root: As for a search.
        on_epoch: Told about each epoch with the seed.

    Raises:
        OutputError: The folder exists or cannot be written.
        DataError: The data cannot be used.
        SourceError: The source is not on this machine, or its sha256 is not the recipe's.
    """
    if output.exists():
        raise OutputError(f"the output must be a new folder, got {output}, which exists: choose another")
    check_output_folder(output, "apply")
    task = load_task(spec, data_root=data_root, cache_root=cache_root)
    backbone = _load(recipe, source, task, same=source is None)
    chosen: tuple[TrainingRun, RecipeMetrics, int] | None = None
    scores: list[RecipeMetrics] = []
    numbers = tuple(range(recipe.training.seed, recipe.training.seed + seeds))
    for seed in numbers:
        run = _train(recipe, task, backbone, seed, device, on_epoch)
        scores.append(_scores(run))
        if chosen is None or _rank(scores[-1]) > _rank(chosen[1]):
            chosen = run, scores[-1], seed
    assert chosen is not None
    run, metrics, seed = chosen
    written = _recipe_of(recipe, spec, run, metrics, seed, source or recipe.strategy.source)
    with whole_folder(output) as folder:
        write_results(folder, run, backbone, written)
    return Applied(written, numbers, tuple(scores))


def _rank(metrics: RecipeMetrics) -> tuple[float, float]:
    return metrics.validation.accuracy, -(metrics.validation.nll or 0.0)


def _load(recipe: Recipe, source: str | None, task: LoadedTask, *, same: bool) -> Backbone:
    from automl_transfer.models.registry import get_source

    name = source or recipe.strategy.source
    if source is None and name.startswith(CHECKPOINT):
        raise SourceError(
            f"the recipe's source is a local file, {name}: say where it lies with --source "
            f"{name.partition('@')[0]}@PATH"
        )
    found = get_source(name)
    backbone = found.load(task.task.channels)
    digest, wanted = found.sha256(), recipe.source.sha256
    if (same or name.startswith(CHECKPOINT)) and wanted is not None and digest != wanted:
        raise SourceError(
            f"the source's weights must have the recipe's sha256 ({wanted[:12]}...), got "
            f"{(digest or 'none')[:12]}... for {name}: install the same weights, or name another source"
        )
    return backbone


def _train(
    recipe: Recipe,
    task: LoadedTask,
    backbone: Backbone,
    seed: int,
    device: str,
    on_epoch: OnEpoch,
    *,
    refit: bool = False,
) -> TrainingRun:
    from automl_transfer.training.device import resolve_device

    run = make_run(
        recipe.strategy,
        task,
        backbone,
        max_epochs=max(1, recipe.training.epochs),
        seed=seed,
        device=resolve_device(device),
        refit=refit,
    )
    train_to_the_end(
        run,
        stop_after=recipe.training.best_epoch if refit else None,
        on_epoch=lambda result: on_epoch(seed, result),
    )
    return run


def _scores(run: TrainingRun) -> RecipeMetrics:
    return RecipeMetrics(validation=score_of(run, "validation"), test=score_on_test(run))


def _recipe_of(
    recipe: Recipe, spec: TaskSpec, run: TrainingRun, metrics: RecipeMetrics, seed: int, source: str
) -> Recipe:
    from automl_transfer.models.registry import get_source

    strategy: Strategy = recipe.strategy.model_copy(update={"source": source})
    return make_recipe(
        strategy=strategy,
        task=run.task.task,
        spec=spec,
        normalisation=constants_of(run),
        source=source_facts(source, get_source(source).sha256()),
        training=recipe.training.model_copy(
            update={
                "seed": seed,
                "batch": run.batch,
                "best_epoch": run.best.epoch if run.best else None,
                "refit": False,
                "weights_sha256": run.weights_sha256(),
                "conditions": run.conditions(),
            }
        ),
        metrics=metrics,
        study=recipe.provenance.study,
        trial=recipe.provenance.trial,
        root_trial=recipe.provenance.root_trial,
        versions=versions(),
    )
