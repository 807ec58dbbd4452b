"""Options that several commands share, each declared once, to be named as `options.NAME`."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from automl_transfer.cli.screen import console, watched
from automl_transfer.machine import DEFAULT_DATABASE

if TYPE_CHECKING:
    from automl_transfer.domain.records import EpochResult
    from automl_transfer.domain.spec import Precision
    from automl_transfer.store.store import Store


class Kind(StrEnum):
    """What ships."""

    AUTO = "auto"
    WINNER = "winner"
    SOUP = "soup"
    ENSEMBLE = "ensemble"


Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Database: sqlite:///FILE or postgresql://USER@HOST/NAME. Also AUTOML_TRANSFER_STORAGE. "
        f"Default: {DEFAULT_DATABASE}.",
        show_default=False,
    ),
]
StorageFile = Annotated[
    Path | None,
    typer.Option(
        "--storage-file", metavar="FILE", help="File that holds the URL, to keep a password out of 'ps'."
    ),
]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", metavar="DIR", help="Where relative dataset folders lie here.")
]
Cache = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help="Where decoded images are kept.")]
GroupFrom = Annotated[
    str | None, typer.Option("--group-from", help="Pattern or CSV: one group never straddles splits.")
]
Images = Annotated[
    str | None,
    typer.Option("--images", metavar="DIR", help="For a table of labels: where its file names lie."),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="ROLE=COLUMN,...",
        help="For a table of labels: which column is file, label, split, group, weight; split= for none.",
    ),
]
OnBadImage = Annotated[
    str | None, typer.Option("--on-bad-image", help="refuse or skip images that cannot be read.")
]
ClassesFrom = Annotated[
    str | None,
    typer.Option(
        "--classes-from", metavar="N|PATTERN", help="A folder's classes: in its Nth folder, or by a pattern."
    ),
]
SplitFrom = Annotated[
    str | None,
    typer.Option(
        "--split-from",
        metavar="N|none|PATTERN",
        help="A folder's splits: in its Nth folder, none, train=DIR,test=DIR, or by a pattern.",
    ),
]
RareClasses = Annotated[
    str | None, typer.Option("--rare-classes", help="drop, merge or keep (to train on) rare classes.")
]
MinPerClass = Annotated[
    int | None, typer.Option("--min-per-class", min=1, help="A class with fewer images is rare.")
]
Exclude = Annotated[
    str | None,
    typer.Option("--exclude", metavar="CSV", help="Leave out what a list says (explore --doctor)."),
]
Launcher = Annotated[
    str | None,
    typer.Option(
        "--launcher",
        metavar="NAME",
        help="What starts workers: local (processes), inprocess (threads, to debug), ray, slurm, a plugin's.",
    ),
]
Workers = Annotated[int, typer.Option("--workers", "-n", min=1, max=1000, help="Processes that run trials.")]
Devices = Annotated[
    int,
    typer.Option("--devices", min=1, max=64, help="That train each model together: GPUs, or processes."),
]
Shard = Annotated[
    str,
    typer.Option(
        "--shard",
        help="With --devices: ddp (whole weights on each) or fsdp (a part of each, for large networks).",
    ),
]
PrecisionName = Annotated[
    str, typer.Option("--precision", help="fp32, or mixed: bf16, fp16. Weights and judgements are fp32.")
]
LauncherSet = Annotated[
    list[str] | None,
    typer.Option("--launcher-set", metavar="KEY=VALUE", help="A setting of the launcher; may be repeated."),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="Space and budget for a dataset: quick, core, best.", show_default="quick"),
]
StudyName = Annotated[str | None, typer.Option("--study-name", help="Name of the study.")]
Trials = Annotated[int | None, typer.Option("--trials", help="Strategies to try.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the study file.")
]

As = Annotated[
    Kind | None,
    typer.Option(
        "--as",
        help="What ships: winner; soup (mean of weights); ensemble; auto: two together if clearly better.",
    ),
]
Refit = Annotated[
    bool | None,
    typer.Option(
        "--refit/--no-refit",
        help="Train on training + validation before shipping. By default where there is time.",
    ),
]
Batch = Annotated[
    int | None, typer.Option("--batch", min=1, help="Images a forward pass (default: what suits).")
]
StudyOrDataset = Annotated[
    str, typer.Argument(metavar="STUDY.toml|DATASET", help="A study file, or a dataset with a preset.")
]
StudyOfStore = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study in the store.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="TIME",
        help="Wait so long for a database, a login or a study that is not there yet.",
    ),
]


def precision_of(text: str) -> Precision:
    """What `--precision` says.

    Raises:
        ConfigurationError: There is no such precision.
    """
    from automl_transfer.domain.spec import PRECISIONS
    from automl_transfer.errors import ConfigurationError

    for found in PRECISIONS:
        if found == text:
            return found
    raise ConfigurationError(f"--precision must be one of {', '.join(PRECISIONS)}, got {text!r}")


def columns_of(text: str | None) -> dict[str, str] | None:
    """What `--columns` says: a role (file, label, split, group, weight) for each column.

    Raises:
        ConfigurationError: It does not read ROLE=COLUMN,... or a role is unknown or given twice.
    """
    from automl_transfer.domain.spec import TableColumns
    from automl_transfer.errors import ConfigurationError

    if text is None:
        return None
    found: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        role = role.strip()
        if not equals or role not in TableColumns.model_fields or role in found:
            raise ConfigurationError(
                f"--columns must read ROLE=COLUMN,... with each of {', '.join(TableColumns.model_fields)} at "
                f"most once, got {part!r} in {text!r}; for names with a comma: --set task.columns.ROLE=COLUMN"
            )
        found[role] = column
    return found


def open_store(
    storage: str | None,
    storage_file: Path | None,
    *,
    create: bool = True,
    read_only: bool = False,
    wait: str | None = None,
    study: str | None = None,
) -> Store:
    """Open the store that the options name; with `read_only`, the right to read it is enough.

    Who may write brings a store of an earlier version up to date, whatever the command.

    With `wait` (`--wait`), whatever is missing may still appear, the study included: services that
    start together need no order.

    Raises:
        StoreURLError: The URL cannot be used, or nothing is there although it should be.
        StoreUnavailableError: The database did not answer.
    """
    from automl_transfer.errors import OlderStoreError, StoreUnavailableError, StoreURLError, StudyError
    from automl_transfer.store.store import Store
    from automl_transfer.store.url import resolve_storage

    url = resolve_storage(storage, storage_file, DEFAULT_DATABASE)

    def waiting(error: BaseException, seconds: float) -> None:
        if seconds == 0:
            typer.echo(f"waiting for the database {url} ...", err=True)

    deadline = time.monotonic() + (0.0 if wait is None else duration(wait, "--wait"))
    said = ""
    while True:
        try:
            if not create and url.is_missing:
                raise StudyError(
                    f"a study must exist, got no database at {url.path}: start one with "
                    "'automl-transfer search'"
                )
            try:
                store = Store.open(url, on_wait=waiting, read_only=read_only)
            except OlderStoreError as older:
                try:
                    Store.open(url, on_wait=waiting).close()
                except StoreURLError:  # a reader's login, or file
                    raise older from None
                store = Store.open(url, on_wait=waiting, read_only=read_only)
            if study is not None and wait is not None:
                try:
                    store.study(study)
                except BaseException:
                    store.close()
                    raise
            return store
        except (StoreURLError, StudyError, StoreUnavailableError) as error:
            if time.monotonic() >= deadline:
                raise
            if str(error) != said:
                said = str(error)
                typer.echo(f"waiting: {said}", err=True)
            time.sleep(1.0)


def paths_at_home(run: Callable[..., None]) -> Callable[..., None]:
    """A command whose paths may begin with `~`, also where a shell leaves that as it is (--output=~/r)."""
    from automl_transfer.machine import path_of

    def found(value: Any) -> Any:
        if isinstance(value, list):
            return [found(each) for each in value]
        return path_of(value) if isinstance(value, Path) else value

    @functools.wraps(run)
    def at_home(*arguments: Any, **options: Any) -> None:
        run(*map(found, arguments), **{name: found(value) for name, value in options.items()})

    return at_home


def launcher_settings(texts: list[str] | None, **named: str | None) -> dict[str, str]:
    """Settings of a launcher, from `--launcher-set` and from options of their own where these are given.

    Raises:
        ConfigurationError: One is no KEY=VALUE.
    """
    from automl_transfer.errors import ConfigurationError

    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--launcher-set must be KEY=VALUE, got {text!r}")
        found[name] = value
    return found | {name: value for name, value in named.items() if value is not None}


def duration(text: str, option: str) -> float:
    """Seconds of `90s`, `30m`, `2h` or a plain number of seconds.

    Raises:
        ConfigurationError: Anything else.
    """
    from automl_transfer.errors import ConfigurationError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if found is None:
        raise ConfigurationError(f"{option} must be a time such as 90s, 30m or 2h, got {text!r}")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


RecipeArgument = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A best_strategy.json.", exists=True, dir_okay=False)
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", help="A name, folder, .npz or table of labels (default: the recipe's own)."),
]
SourceOption = Annotated[
    str | None,
    typer.Option("--source", help="Another source, or checkpoint/ARCHITECTURE@PATH of a file here."),
]


class EpochsShown:
    """A progress bar over images and then epochs, on stderr; where nobody watches, a line for each epoch.

    Args:
        epochs: Of all seeds together; None where `begin` says it.
        quiet: Whether nothing is shown.
    """

    def __init__(self, epochs: int | None = None, *, quiet: bool = False) -> None:
        from rich.progress import Progress

        self._screen = console(stderr=True)
        self._lines = not quiet and not watched(self._screen)
        self._progress = Progress(console=self._screen, transient=True, disable=quiet or self._lines)
        self._task = self._progress.add_task("training", total=epochs)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Something that is no epoch of a seed goes on."""
        self._progress.update(self._task, description=what, completed=done, total=total)

    def begin(self, epochs: int, text: str) -> None:
        """Print a text, for people who keep it; then epochs follow."""
        self._progress.stop()
        console().print(text, markup=False, soft_wrap=True)
        self._progress.reset(self._task, total=epochs, description="training")
        self._progress.start()

    def on_epoch(self, seed: int, result: EpochResult) -> None:
        """An epoch has ended."""
        text = f"seed {seed}, epoch {result.epoch}: {result.accuracy:.4f}"
        self._progress.update(self._task, advance=1, description=text)
        if self._lines:
            self._screen.print(text, markup=False)
