"""What `apply` and `verify` share: a recipe's task, its source, its training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, cast

from automl_transfer.api.frames import Frame, passing
from automl_transfer.api.training import score_of, score_on_test
from automl_transfer.data.base import some
from automl_transfer.data.far import Far
from automl_transfer.data.registry import parse
from automl_transfer.data.table_file import is_frame
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.measured import check_metric
from automl_transfer.domain.names import CHECKPOINT
from automl_transfer.domain.records import EpochResult
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy, require_methods
from automl_transfer.domain.strict_json import validate
from automl_transfer.errors import ConfigurationError, DataError, SourceError
from automl_transfer.models.registry import source_traits
from automl_transfer.recipes.best_strategy import Recipe, read_recipe
from automl_transfer.recipes.scores import RecipeMetrics
from automl_transfer.space.space import cannot_take
from automl_transfer.training.making import Judged, make_run, train_to_the_end

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone
    from automl_transfer.training.run import TrainingRun

OnEpoch = Callable[[int, EpochResult], None]


def named_alike(recipe: Recipe, name: str) -> bool:
    """Whether this is the name of the recipe's own data."""
    # Earlier versions named an .npz without its suffix.
    return name in (recipe.task.name, f"{recipe.task.name}.npz")


def task_of(recipe: Recipe, dataset: str | None, *, own: bool | None = None, **changes: object) -> TaskSpec:
    """The specification of the recipe's task, or of another dataset, which chooses its own resolution.

    Args:
        recipe: What is run again.
        dataset: A name, a folder, an .npz or a table of labels; None for the recipe's own.
        own: Whether these are the recipe's own data, which are read as it says, wherever they lie. None: as
            their name says.
        changes: Fields to set: `resolution`, `seed`, `images`, `columns`, `group_from`, `on_bad_image`,
            `classes_from`, ...

    Raises:
        ConfigurationError: A field's value cannot be.
    """
    theirs = recipe.task
    given = {name: value for name, value in changes.items() if value is not None}
    values: dict[str, object] = {
        "dataset": dataset or theirs.name, "metric": theirs.metric, "fit": theirs.fit,
    }  # fmt: skip
    if theirs.split_seed is not None:
        values["seed"] = theirs.split_seed
    if theirs.split_fractions is not None:
        values["splits"] = theirs.split_fractions.model_dump()
    if own is None:
        own = dataset is None or named_alike(recipe, Path(dataset).name)
    if own:
        values |= {"resolution": theirs.resolution, "channels": theirs.channels}
        values |= theirs.reading.model_dump() if theirs.reading is not None else {}
    return validate(TaskSpec, values | given, "the task")


def recipe_of(recipe: Recipe | str | Path) -> Recipe:
    """The recipe itself, or what a file says.

    Raises:
        ConfigurationError: It names a method or metric of a package that is not installed here.
    """
    found = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    _require_installed(found)
    return found


@contextmanager
def spec_of(
    recipe: Recipe,
    dataset: str | TaskSpec | Frame | None,
    images: str | PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    own: bool | None = None,
) -> Iterator[TaskSpec]:
    """The task itself, or what `task_of` makes of a dataset's name or of a data frame, within the block.

    Raises:
        ConfigurationError: A task and what it states itself are given.
    """
    if is_frame(dataset):
        with passing(cast(Frame, dataset), images, columns) as table:
            yield task_of(recipe, table.pop("dataset"), own=own, **table)
    elif not isinstance(dataset, TaskSpec):
        stated = {"images": None if images is None else fspath(images), "columns": columns and dict(columns)}
        yield task_of(recipe, cast("str | None", dataset), own=own, **stated)
    elif images is not None or columns is not None:
        raise ConfigurationError("a task states images and columns itself: set them in the TaskSpec")
    else:
        yield dataset


def load_again(recipe: Recipe, spec: TaskSpec, data_root: Path | None, cache_root: Path | None) -> LoadedTask:
    """The images of what `spec_of` gave.

    Raises:
        DataError: They are not there, or cannot be used.
    """
    try:
        parse(spec.dataset, data_root, Far(cache_root))
    except DataError as error:
        if spec.dataset != recipe.task.name:
            raise
        raise DataError(
            f"the recipe's own data are named {recipe.task.name!r}, and nothing of that name is here: say "
            "where they lie with --dataset"
        ) from error
    return load_task(spec, data_root=data_root, cache_root=cache_root)


def require_classes(recipe: Recipe, task: LoadedTask) -> None:
    """Data under the recipe's name must be of its classes, whatever else may have changed."""
    wanted, there = recipe.task.classes, task.task.classes
    if wanted == there:
        return
    parts = [
        f"{what} {some(names)}"
        for what, names in (
            ("without", [name for name in wanted if name not in there]),
            ("with", [name for name in there if name not in wanted]),
        )
        if names
    ] or ["in another order"]
    raise DataError(
        f"the recipe's own data must have its {len(wanted)} classes, got {task.task.name} "
        f"{' and '.join(parts)}: name the right data with --dataset, or give other data another name "
        "(./NAME for a folder here) and use 'automl-transfer apply'"
    )


def _require_installed(recipe: Recipe) -> None:
    try:
        require_methods(recipe.strategy)
        check_metric(recipe.task.metric)
    except ConfigurationError as error:
        versions = recipe.environment.versions
        missing = [f"{name} {version}" for name, version in versions.items() if _is_missing(name)]
        made_with = f" (the recipe was made with {', '.join(missing)}, not installed here)" if missing else ""
        raise ConfigurationError(f"{error}{made_with}") from None


def _is_missing(package: str) -> bool:
    if package == "python":
        return False
    try:
        version(package)
    except PackageNotFoundError:
        return True
    return False


def require_taken(strategy: Strategy) -> None:
    """A strategy's methods must find in its source's network what they need.

    Raises:
        ConfigurationError: With every value that the source cannot take, and why.
        SourceError: There is no such source, or its weights must be read to know and are not here.
    """
    if not strategy.pretrained:
        return
    mistakes = cannot_take(strategy.active(), {strategy.source: source_traits(strategy.source)})
    if mistakes:
        raise ConfigurationError([mistake.removeprefix("space.") for mistake in mistakes])


def load_source(recipe: Recipe, source: str | None, task: LoadedTask, *, same: bool) -> Backbone:
    """The source's network for a task's channels; with `same`, only with the weights of the recipe.

    So it is where the recipe's own checkpoint is said to lie somewhere.

    Raises:
        SourceError: It is not on this machine, or its sha256 is not the recipe's.
    """
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
    theirs = recipe.strategy.source
    placed = theirs.startswith(CHECKPOINT) and name.partition("@")[0] == theirs.partition("@")[0]
    if (same or placed) and wanted is not None and digest != wanted:
        raise SourceError(
            f"the source's weights must have the recipe's sha256 ({wanted[:12]}...), got "
            f"{(digest or 'none')[:12]}... for {name}: install the same weights, or name another source"
        )
    return backbone


def train_again(
    recipe: Recipe,
    task: LoadedTask,
    backbone: Backbone,
    seed: int,
    device: str,
    on_epoch: OnEpoch,
    *,
    refit: bool = False,
    stop_after: int | None = None,
    cache_root: Path | None = None,
) -> tuple[TrainingRun, float]:
    """The trained run, which flips as its recipe says, and what `train_to_the_end` gives."""
    from automl_transfer.training.activation_cache import disk_cache
    from automl_transfer.training.device import resolve_device
    from automl_transfer.training.precision import precision_here

    where = resolve_device(device)
    run = make_run(
        recipe.strategy,
        task,
        backbone,
        horizon=recipe.training.horizon,
        seed=seed,
        device=where,
        refit=refit,
        cache=disk_cache(cache_root),
        precision=precision_here(recipe.training.conditions, where),
    )
    seconds = train_to_the_end(run, stop_after=stop_after, on_epoch=lambda result: on_epoch(seed, result))
    run.model.flips = recipe.shipped_as is not None and recipe.shipped_as.flips
    return run, seconds


def scores_of(run: Judged) -> RecipeMetrics:
    """The trained model on validation and test images."""
    return RecipeMetrics(validation=score_of(run, "validation"), test=score_on_test(run))
