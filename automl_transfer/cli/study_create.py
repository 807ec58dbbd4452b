"""`automl-transfer study create`: a study in the store, for workers elsewhere to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli.options import (
    CacheOption,
    DataRootOption,
    DeviceOption,
    StorageFileOption,
    StorageOption,
    WaitOption,
    open_store,
)
from automl_transfer.domain.places import DEFAULT_DATABASE, RUNS


def run(
    what: Annotated[
        str, typer.Argument(metavar="STUDY.toml|DATASET", help="A study file, or a dataset with a preset.")
    ],
    preset: Annotated[
        str, typer.Option("--preset", help="Space and budget for a dataset: quick, core, best.")
    ] = "quick",
    study_name: Annotated[str | None, typer.Option("--study-name", help="Name of the study.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where its files will be. Default: runs/STUDY."),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Strategies to try.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the study file.")
    ] = None,
    storage: StorageOption = None,
    storage_file: StorageFileOption = None,
    wait: WaitOption = None,
    data_root: DataRootOption = None,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Create a study and its first trials, and run none: that is for workers. Safe to repeat.

    \b
    $ automl-transfer study create studies/quick.toml --storage postgresql://me@host/studies
    quick: 16 strategies to try; run 'automl-transfer worker quick' on any machine that reaches the store
    """
    from automl_transfer.api.search import create
    from automl_transfer.space.study_of import study_spec
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
    )
    typer.echo(
        f"{handle.name}: {handle.spec.search.trials} strategies to try; run 'automl-transfer worker "
        f"{handle.name}' on any machine that reaches the store"
    )
