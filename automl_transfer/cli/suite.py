"""`automl-transfer suite`: several datasets in one command, and one report across all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import launcher_settings
from automl_transfer.cli.screen import console
from automl_transfer.machine import DEFAULT_DATABASE, RUNS

if TYPE_CHECKING:
    from rich.console import Console

    from automl_transfer.api.suite import Ended, SuiteRun


def run(
    file: Annotated[
        Path, typer.Argument(metavar="SUITE.toml", help="Datasets, and what their studies share.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Results. Default: runs/SUITE.")
    ] = None,
    settings: options.Settings = None,
    cold: Annotated[bool, typer.Option("--cold", help="No study uses anything of earlier tasks.")] = False,
    refit: options.Refit = None,
    workers: options.Workers = 1,
    launcher: options.Launcher = None,
    launcher_set: options.LauncherSet = None,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
) -> None:
    """Search several datasets, one after the other, each warm from those before.

    Ctrl-C is safe, and the same command goes on: what is finished is not searched again.

    \b
    $ automl-transfer suite studies/suite.toml
    ...
    study           task      score   test  time
    digits-quick    digits    0.989  0.986  61 s
    textures-quick  textures  1.000  0.993  24 s
    wrote runs/suite/report.html
    """
    from automl_transfer.api.suite import SuiteRun
    from automl_transfer.cli.searching import Searching
    from automl_transfer.space.suite_file import read_suite
    from automl_transfer.store.url import resolve_storage

    overrides = [*(settings or []), *(["search.start=cold"] if cold else [])]
    suite = read_suite(file, overrides, data_root)
    url = resolve_storage(storage, storage_file, DEFAULT_DATABASE)
    searching = Searching(
        url, workers, launcher, device, data_root, cache, refit, launcher_settings(launcher_set)
    )
    searching.check()
    screen, total = console(), len(suite.studies)
    going = SuiteRun(suite, url, output or RUNS / suite.name)
    failed = stopped = 0
    for number, ended in enumerate(
        going.run(lambda spec, folder: searching.search(spec, folder, screen)), start=1
    ):
        screen.print(f"{number} of {total}: {_how(ended)}", markup=False, soft_wrap=True)
        failed += ended.lacks_a_model
        stopped += ended.result is not None and ended.result.interrupted
    if stopped:
        screen.print("stopped. The same command goes on; nothing is lost.")
        raise typer.Exit(130)
    _show(screen, going)
    if failed:
        raise typer.Exit(1)


def _how(ended: Ended) -> str:
    from automl_transfer.cli.live import how_it_ended

    name = ended.spec.name
    if ended.failed:
        return f"{name} could not be searched: {ended.failed}"
    if ended.result is None:
        return f"{name} is finished already"
    if ended.result.interrupted:
        return f"{name} was interrupted: {ended.result.reason}"
    return f"{name} {how_it_ended(ended.result)}"


def _show(screen: Console, going: SuiteRun) -> None:
    from rich.table import Table
    from rich.text import Text

    from automl_transfer.api.report import PAGE
    from automl_transfer.api.suite import lines
    from automl_transfer.reporting.output import show_comparison
    from automl_transfer.reporting.plain import plain
    from automl_transfer.reporting.story import warm_start

    reports = going.report()
    table = Table(box=None, pad_edge=False)
    for column in ("study", "task"):
        table.add_column(column, overflow="fold")
    for column in ("score", "test", "time"):
        table.add_column(column, justify="right")
    for name, task, *numbers in lines(reports):
        table.add_row(Text(plain(name, 200)), Text(plain(task, 200)), *numbers)
    screen.print(table)
    for report in reports:
        for line in warm_start(report):
            screen.print(Text(f"{plain(report.study, 200)}: {line}"), soft_wrap=True)
    show_comparison(screen, reports)
    if reports:
        screen.print(f"wrote {going.folder / PAGE}", markup=False, soft_wrap=True)
