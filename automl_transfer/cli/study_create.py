"""`automl-transfer study create`: a study in the store, for workers elsewhere to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import open_store
from automl_transfer.domain.places import DEFAULT_DATABASE, RUNS


def run(
    what: options.StudyOrDataset,
    preset: options.Preset = "quick",
    study_name: options.StudyName = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where its files will be. Default: runs/STUDY."),
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
