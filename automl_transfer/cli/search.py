"""`automl-transfer search`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import columns_of
from automl_transfer.cli.screen import console
from automl_transfer.machine import DEFAULT_DATABASE, RUNS

if TYPE_CHECKING:
    from automl_transfer.store.store import Store
    from automl_transfer.store.values import StudyHandle


def run(
    what: options.StudyOrDataset,
    preset: options.Preset = "quick",
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
    refit: options.Refit = None,
    workers: Annotated[
        int, typer.Option("--workers", "-n", min=1, max=1000, help="Processes that run trials.")
    ] = 1,
    launcher: options.Launcher = None,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
) -> None:
    """Search for the best transfer strategy; rank, and ship the winner.

    Ctrl-C is safe, and the same command goes on.

    \b
    $ automl-transfer search photos/cats --minutes 30
    ...
    best: validation 0.992, test 0.989 [0.980, 0.994] (n = 360)
    wrote runs/cats-quick/: ranking.json, report.html, best_strategy.json, model/
    """
    from automl_transfer.api.search import run_study
    from automl_transfer.cli.live import LiveSearch, print_result
    from automl_transfer.space.study_file import study_spec
    from automl_transfer.store.url import resolve_storage
    from automl_transfer.workers.signals import StopRequest, stop_on_signals

    if launcher is not None:
        from automl_transfer.workers import launchers

        launchers.check(launcher)
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
    url = resolve_storage(storage, storage_file, DEFAULT_DATABASE)
    folder = output or RUNS / spec.name
    stop = StopRequest()
    screen = console()
    with stop_on_signals(stop), LiveSearch(screen, spec) as live:

        def run_workers(store: Store, handle: StudyHandle, stop: StopRequest) -> str:
            from dataclasses import replace

            from automl_transfer.workers import launching
            from automl_transfer.workers.supervisor import SupervisorOptions

            options = launching.LaunchOptions(
                workers, device=device, data_root=data_root, cache_root=cache, launcher=launcher or "local"
            )
            if handle.spec.search.minutes is not None:
                options = replace(options, supervisor=SupervisorOptions(patience=15.0))
            with live.workers(store, handle) as on_tick:
                return launching.run_workers(store, handle, stop, options, on_tick=on_tick)

        result = run_study(
            spec,
            storage=url,
            output=folder,
            device=device,
            data_root=data_root,
            cache_root=cache,
            refit=refit,
            stop=stop,
            events=live,
            run_workers=run_workers if workers > 1 or launcher is not None else None,
        )
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
