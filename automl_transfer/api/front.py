"""What people call from Python: a search from a dataset's name, a look at it, one strategy trained on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from automl_transfer.api.frames import Frame, kept, stated
from automl_transfer.api.migration import ModelMigration, OnProgress, Trained, warn
from automl_transfer.api.search import SearchEvents, SearchResult, run_study
from automl_transfer.api.training import AnyStrategy, check_new_folder, strategy_of_any
from automl_transfer.data.explore import Exploration
from automl_transfer.data.explore import explore as explore_task
from automl_transfer.data.table_file import is_frame
from automl_transfer.data.task import load_task
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.records import EpochResult
from automl_transfer.domain.spec import Precision, StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy, require_methods
from automl_transfer.domain.strict_json import validate
from automl_transfer.errors import ConfigurationError
from automl_transfer.machine import DEFAULT_DATABASE, RUNS, ensure_home, path_of
from automl_transfer.search.workbench import check_device
from automl_transfer.space.by_hand import by_hand
from automl_transfer.space.study_file import PRESETS, derived_name, study_spec
from automl_transfer.store.url import StoreURL, resolve_storage
from automl_transfer.workers.signals import StopRequest

if TYPE_CHECKING:
    from automl_transfer.transfer.plan import TransferPlan

__all__ = ["explore", "search", "train"]


def search(
    what: str | PathLike[str] | StudySpec | Frame,
    *,
    images: str | PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    minutes: float | None = None,
    trials: int | None = None,
    preset: str | None = None,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | PathLike[str] | None = None,
    storage: str | StoreURL | None = None,
    refit: bool | None = None,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    stop: StopRequest | None = None,
    events: SearchEvents | None = None,
) -> SearchResult:
    """Search for the best way to transfer a network to a dataset; rank, and ship the winner.

    The same call goes on where an earlier one stopped, and does nothing where it ended.

    >>> result = search("photos/cats", minutes=30)  # doctest: +SKIP
    >>> result.recipe.metrics.test.accuracy, result.model  # doctest: +SKIP
    (0.989, PosixPath('runs/cats-quick/model'))

    Args:
        what: A dataset (a registered name, a folder, an .npz, a table of labels, a data frame), a study file
            ending in .toml, or a specification made in code. A frame is kept below `runs/tables/`, where
            workers find it.
        images: For a table or a frame: the folder that its file names are relative to.
        columns: For a table or a frame: which column is what: `{"file": "img", "label": "species"}`.
        minutes: Time for the whole call, confirmation and shipping included.
        trials: Strategies to try.
        preset: Space and budget for a dataset: `quick` (by default), `core` or `best`.
        name: Of the study; by default made from the dataset and the preset.
        settings: Any keys of a study file, dotted: `{"search.max_epochs": 3, "space.pool": [1, 4]}`; a table
            of keys, such as `{"search": {"max_epochs": 3}}`, says the same.
        output: Folder for the results; by default `runs/NAME`.
        storage: URL of the database; by default AUTOML_TRANSFER_STORAGE, or `runs/automl-transfer.db`.
        refit: Train the winner on training and validation images together before shipping it; None does so
            where it takes no more than 45% of `minutes`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        data_root: Where relative dataset folders lie on this machine.
        cache_root: Where decoded images are kept; None for the user's cache folder.
        stop: Asked to stop from elsewhere; the trial under way is released, not lost.
        events: Told what happens.

    Raises:
        UserError: Something about data, sources, study or output is wrong; nothing was written.
        StoreUnavailableError: The store did not answer for too long; nothing is lost.
    """
    ensure_home()
    settings = _dotted(settings or {})
    arguments = {
        "search.minutes": minutes, "search.trials": trials, "name": name, "task.dataset": what,
    }  # fmt: skip
    _refuse_twice(settings, arguments | _of_table(images, columns))
    name = settings.pop("name", name)
    if is_frame(what):
        images, columns = _said_of_table(settings, images, columns)
        table = kept(cast(Frame, what), images, columns)
        name = name or f"{Path(table['dataset']).stem}-table-{preset or PRESETS[0]}"
        images, columns, what = table["images"], table["columns"], str(table["dataset"])
    given: dict[str, Any] = {
        "search__minutes": minutes,
        "search__trials": trials,
        "task__images": None if images is None else fspath(images),
        "task__columns": None if columns is None else dict(columns),
    }
    given |= {key.replace(".", "__"): value for key, value in settings.items()}
    if not isinstance(what, StudySpec):
        spec = study_spec(fspath(cast(str, what)), preset, (), name=name, data_root=data_root, **given)
    elif any(value is not None for value in (name, preset, *given.values())):
        raise ConfigurationError(
            "a specification states its name, space and budget itself, got them twice: set them in the "
            "StudySpec"
        )
    else:
        spec = what
    url = storage if isinstance(storage, StoreURL) else resolve_storage(storage, None, DEFAULT_DATABASE)
    return run_study(
        spec,
        storage=url,
        output=path_of(output) if output is not None else RUNS / spec.name,
        device=device,
        data_root=data_root,
        cache_root=cache_root,
        refit=refit,
        by_rule="search__ship_as" in given,
        stop=stop,
        events=events,
    )


def explore(
    dataset: str | PathLike[str] | TaskSpec | Frame,
    *,
    images: str | PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    data_root: Path | None = None,
    cache_root: Path | None = None,
    **settings: object,
) -> Exploration:
    """What a dataset holds: classes, balance, sizes, channels, duplicates, what became of every file.

    What a search would refuse is among the `findings`.

    >>> explore("digits").imbalance  # doctest: +SKIP
    1.05

    Args:
        dataset: A registered name, a folder, an .npz, a table of labels, a data frame, or a task
            specification.
        images: As for a search.
        columns: As for a search.
        data_root: Where relative dataset folders lie on this machine.
        cache_root: Where decoded images are kept; None for the user's cache folder.
        settings: Fields of `TaskSpec`: `resolution`, `channels`, `group_from`, `split_from`, ...

    Raises:
        ConfigurationError: A setting is unknown or its value cannot be.
        DataError: There is no such dataset, or it is no folder and cannot be read.
    """
    ensure_home()
    with stated(dataset, images, columns) as fields:
        spec = validate(TaskSpec, {**fields, **settings}, "the task")
        return explore_task(spec, data_root=data_root, cache_root=cache_root)[0]


def train(
    dataset: str | PathLike[str] | TaskSpec | Frame,
    strategy: AnyStrategy | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    output: str | PathLike[str] | None = None,
    images: str | PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    refit: bool = True,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    precision: Precision = "fp32",
    on_progress: OnProgress = lambda what, done, total: None,
    on_plan: Callable[[TransferPlan, Horizon], None] = lambda plan, horizon: None,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
) -> Trained:
    """Train one strategy on a dataset and ship it; nothing is searched, and there is no study.

    >>> train("photos/cats", settings={"tune_mode": "full"}, epochs=10).model  # doctest: +SKIP
    PosixPath('runs/cats-train/model')

    Args:
        dataset: As for a search.
        strategy: What the dimensions that `settings` does not name are: a `Strategy`, its fields, a recipe,
            or the file of one of them. None for the defaults.
        settings: Dimensions (`{"tune_mode": "full"}`) and fields of the task (`{"task.resolution": 64}`).
        output: A folder that does not exist yet, and appears whole; by default `runs/DATASET-train`.
        images: As for a search.
        columns: As for a search.
        epochs: As for `ModelMigration`.
        steps: As for `ModelMigration`.
        seed: As for `ModelMigration`.
        refit: Train on training and validation images together before shipping.
        device: As for a search.
        data_root: As for a search.
        cache_root: As for a search.
        precision: As for `ModelMigration`.
        on_progress: Told while images are prepared, and about each epoch of a refit.
        on_plan: Told what will be trained, and how long.
        on_epoch: Told about each epoch.

    Raises:
        UserError: Something about settings, data, source or output is wrong; nothing was written.
        NotANumberError, OutOfMemoryError: It cannot be trained so.
    """
    from automl_transfer.models.registry import get_source

    ensure_home()
    settings = _dotted(settings or {})
    _refuse_twice(settings, _of_table(images, columns))
    if is_frame(dataset):
        images, columns = _said_of_table(settings, images, columns)
    start = Strategy() if strategy is None else strategy_of_any(strategy)
    with stated(dataset, images, columns) as fields:
        hand = by_hand(fields, settings, start, max_epochs=epochs, max_steps=steps, seed=seed)
        require_methods(hand.strategy)
        folder = path_of(output or RUNS / derived_name(hand.spec.task.dataset, "train", data_root))
        check_new_folder(folder)
        migration = ModelMigration(
            hand.strategy.source,
            epochs=epochs,
            steps=steps,
            seed=seed,
            refit=refit,
            device=device,
            data_root=data_root,
            cache_root=cache_root,
            precision=precision,
        )
        check_device(device, precision)
        get_source(hand.strategy.source).sha256()  # before hours of decoding
        warn(hand)
        task = load_task(hand.spec.task, data_root=data_root, cache_root=cache_root, progress=on_progress)
    migration.begin(hand.spec.task, task)
    migration.generate_target_model(hand.strategy)
    on_plan(migration.plan, migration.horizon)
    return migration.fit(on_epoch=on_epoch, on_progress=on_progress).save(folder)


def _dotted(settings: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    """The same with a dotted key for each key of a table, so that none hides what is said elsewhere."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{table}{name}"
        inner = _dotted(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
        for twice in inner.keys() & found.keys():
            raise ConfigurationError(
                f"{twice} must be said once, got {found[twice]!r} and {inner[twice]!r} in settings: leave "
                "one of them out"
            )
        found |= inner
    return found


def _of_table(images: object, columns: Mapping[str, str] | None) -> dict[str, object]:
    """The keys of a study file that these arguments say."""
    roles = {f"task.columns.{role}": column for role, column in (columns or {}).items()}
    return {"task.images": images, "task.columns": columns, **roles}


def _refuse_twice(settings: Mapping[str, object], arguments: Mapping[str, object]) -> None:
    for key, value in settings.items():
        if arguments.get(key) is not None:
            raise ConfigurationError(
                f"{key} must be said once, got it as an argument and as {value!r} in settings: leave one of "
                "them out"
            )


def _said_of_table(
    settings: dict[str, Any], images: str | PathLike[str] | None, columns: Mapping[str, str] | None
) -> tuple[str | PathLike[str] | None, Mapping[str, str] | None]:
    """Images and columns of a data frame, with what settings say of them, which is taken out."""
    roles = {key: key.removeprefix("task.columns.") for key in settings if key.startswith("task.columns.")}
    said = {role: settings.pop(key) for key, role in roles.items()}
    return settings.pop("task.images", images), {**(columns or {}), **said} or columns
