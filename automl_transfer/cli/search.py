"""`automl-transfer search`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import columns_of, launcher_settings
from automl_transfer.cli.screen import console
from automl_transfer.machine import DEFAULT_DATABASE, RUNS


def run(
    what: options.StudyOrDataset,
    preset: options.Preset = None,
    study_name: options.StudyName = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Results. Default: runs/STUDY.")
    ] = None,
    trials: options.Trials = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Time for the whole command.")] = None,
    settings: options.Settings = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="K|off", help="Train the best K again, on fresh splits."),
    ] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="Use nothing of earlier tasks: to compare with.")
    ] = False,
    images: options.Images = None,
    columns: options.Columns = None,
    group_from: options.GroupFrom = None,
    on_bad_image: options.OnBadImage = None,
    classes_from: options.ClassesFrom = None,
    split_from: options.SplitFrom = None,
    rare_classes: options.RareClasses = None,
    min_per_class: options.MinPerClass = None,
    exclude: options.Exclude = None,
    doctor: Annotated[
        bool | None,
        typer.Option("--doctor/--no-doctor", help="A cheap look at the images first. By default yes."),
    ] = None,
    kind: options.As = None,
    refit: options.Refit = None,
    workers: options.Workers = 1,
    launcher: options.Launcher = None,
    launcher_set: options.LauncherSet = None,
    devices: options.Devices = 1,
    shard: options.Shard = "ddp",
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
) -> None:
    """Search for the best transfer strategy; rank, and ship the winner.

    Ctrl-C is safe, and the same command goes on.

    First answers, confirmation and the refit run here, on one device, whatever --workers and --devices say.

    \b
    $ automl-transfer search photos/cats --minutes 30
    ...
    best: validation 0.992, test 0.989 [0.980, 0.994] (n = 360)
    wrote runs/cats-quick/: ranking.json, report.html, best_strategy.json, model/
    """
    from automl_transfer.cli.live import print_result
    from automl_transfer.cli.searching import Searching
    from automl_transfer.space.study_file import study_spec
    from automl_transfer.store.url import resolve_storage

    url = resolve_storage(storage, storage_file, DEFAULT_DATABASE)
    given = launcher_settings(launcher_set)
    by_rule = kind is not None or any(each.startswith("search.ship_as=") for each in settings or [])
    searching = Searching(
        url, workers, launcher, device, data_root, cache, refit, given, by_rule, devices, shard
    )
    searching.check()
    spec = study_spec(
        what,
        preset,
        settings or [],
        name=study_name,
        data_root=data_root,
        search__trials=trials,
        search__minutes=minutes,
        search__doctor=doctor,
        search__confirm=_confirm(confirm),
        search__start="cold" if cold else None,
        search__ship_as=None if kind is None else kind.value,
        task__images=images,
        task__columns=columns_of(columns),
        task__group_from=group_from,
        task__on_bad_image=on_bad_image,
        task__classes_from=classes_from,
        task__split_from=split_from,
        task__rare_classes=rare_classes,
        task__min_per_class=min_per_class,
        task__exclude=exclude,
    )
    screen = console()
    result = searching.search(spec, output or RUNS / spec.name, screen)
    print_result(screen, result)
    if result.interrupted:
        raise typer.Exit(130)
    if result.shipped is None or result.shipped.recipe is None:
        raise typer.Exit(1)


def _confirm(text: str | None) -> int | None:
    from automl_transfer.errors import ConfigurationError

    if text is None:
        return None
    if text == "off":
        return 0
    if not text.isascii() or not text.isdigit():
        raise ConfigurationError(f"--confirm must be a number of strategies or off, got {text!r}")
    return int(text)
