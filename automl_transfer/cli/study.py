"""`automl-transfer study`: create, list, rename, delete, and clear away what is not needed any more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import open_store
from automl_transfer.cli.screen import console, print_json
from automl_transfer.machine import DEFAULT_DATABASE, RUNS
from automl_transfer.printable import visible

app = typer.Typer(
    help="Create, list, rename and delete studies, and free their disk space.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("create")
def create_study(
    what: options.StudyOrDataset,
    preset: options.Preset = None,
    study_name: options.StudyName = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where its files will be. Default: runs/STUDY."),
    ] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            "--artifacts",
            metavar="DIR|URL",
            help="Where checkpoints and models lie, e.g. s3://bucket/runs. Default: below --output.",
        ),
    ] = None,
    trials: options.Trials = None,
    settings: options.Settings = None,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    wait: options.Wait = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
) -> None:
    """Create a study and its first trials, and run none: that is for workers. Safe to repeat.

    \b
    $ automl-transfer study create studies/quick.toml --storage postgresql://me@host/studies
    quick: 16 strategies to try; run 'automl-transfer worker quick' on any machine that reaches the store
    """
    from automl_transfer.api.search import create
    from automl_transfer.space.study_file import study_spec
    from automl_transfer.store.url import resolve_storage

    spec = study_spec(
        what, preset, settings or [], name=study_name, data_root=data_root, search__trials=trials
    )
    if wait is not None:
        open_store(storage, storage_file, wait=wait).close()
    handle = create(
        spec,
        storage=resolve_storage(storage, storage_file, DEFAULT_DATABASE),
        output=output or RUNS / spec.name,
        device=device,
        data_root=data_root,
        cache_root=cache,
        artifacts=artifacts,
    )
    typer.echo(
        f"{handle.name}: {handle.spec.search.trials} strategies to try; run 'automl-transfer worker "
        f"{handle.name}' on any machine that reaches the store"
    )


@app.command("list")
def list_studies(
    storage: options.Storage = None, storage_file: options.StorageFile = None, as_json: options.Json = False
) -> None:
    """List the studies of a store.

    \b
    $ automl-transfer study list
    study  task    complete  pruned  failed  running  waiting  paused  best
    quick  digits         4      12       0        0        0       0  0.9944
    """
    from dataclasses import asdict

    from rich.table import Table
    from rich.text import Text

    from automl_transfer.store.values import PAUSED

    with open_store(storage, storage_file, create=False, read_only=True) as store:
        studies = store.studies()
    if as_json:
        print_json([asdict(study) for study in studies])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("study", overflow="fold")
    table.add_column("task", overflow="fold")
    states = {
        "complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "running": "RUNNING",
        "waiting": "WAITING", "paused": PAUSED,
    }  # fmt: skip
    for column in (*states, "best"):
        table.add_column(column, justify="right")
    for study in studies:
        best = "-" if study.best_value is None else f"{study.best_value:.4f}"
        task = study.task if study.task is not None else "(made by something else)"
        numbers = [str(study.trials.get(state, 0)) for state in states.values()]
        table.add_row(Text(visible(study.name)), Text(visible(task)), *numbers, best)
    console().print(table if studies else "no studies yet: start one with 'automl-transfer search'")


@app.command()
def rename(
    study: options.StudyOfStore,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
) -> None:
    """Give a study another name. Workers that run it go on; its files stay where they are.

    \b
    $ automl-transfer study rename quick digits-june
    quick is now digits-june
    """
    with open_store(storage, storage_file, create=False) as store:
        store.rename(study, new)
    typer.echo(f"{visible(study)} is now {visible(new)}")


@app.command()
def delete(
    study: options.StudyOfStore,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
) -> None:
    """Delete a study and its trials from the store. Files in its output folder stay.

    \b
    $ automl-transfer study delete quick
    delete quick with its 16 trials (0 running)? [y/N]: y
    deleted quick; its files are still in runs/quick/artifacts/0b9c4b1d...
    """
    from automl_transfer.store.files import url_of
    from automl_transfer.store.trials import Trials

    with open_store(storage, storage_file, create=False) as store:
        handle = store.study(study)
        counts = Trials(store).counts(handle)
        total = (
            counts.waiting + counts.paused + counts.running + counts.complete + counts.pruned + counts.failed
        )
        question = f"delete {study} with its {total} trials ({counts.running} running)?"
        if not yes and not typer.confirm(question):
            typer.echo("nothing was deleted")
            raise typer.Exit(1)
        store.delete(study)
    typer.echo(f"deleted {visible(study)}; its files are still in {visible(url_of(handle))}")


@app.command()
def gc(
    study: options.StudyOfStore,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be dropped.")] = False,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
) -> None:
    """Drop checkpoints and models that nothing needs: never those of open trials or of the best five.

    \b
    $ automl-transfer study gc quick
    freed 112.4 MB: 11 files dropped, 10 kept
    """
    from automl_transfer.api.retention import collect_garbage

    with open_store(storage, storage_file, create=False) as store:
        found = collect_garbage(store, store.study(study), dry_run=dry_run)
    if dry_run:
        for key in found.keys:
            typer.echo(visible(key))
    verb, done = ("would free", "to drop") if dry_run else ("freed", "dropped")
    typer.echo(f"{verb} {found.freed / 1e6:.1f} MB: {len(found.keys)} files {done}, {found.kept} kept")
