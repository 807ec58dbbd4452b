"""`automl-transfer export`: the best-strategy file and the model of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import open_store
from automl_transfer.cli.screen import console


def run(
    study: options.StudyOfStore,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    refit: options.Refit = None,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
) -> None:
    """Write ranking.json, best_strategy.json and model/ of a study, also while it is still running.

    \b
    $ automl-transfer export quick --output best
    wrote best/: ranking.json, report.html, best_strategy.json, model/
    """
    from automl_transfer.api.finish import finish_search
    from automl_transfer.api.run_folder import check_run_folder
    from automl_transfer.errors import StudyError
    from automl_transfer.search.workbench import Workbench

    with open_store(storage, storage_file, create=False, read_only=True) as store:
        handle = store.study(study)
        check_run_folder(store, handle.name, output)
        bench = Workbench.open(handle, device=device, data_root=data_root, cache_root=cache)
        shipped = finish_search(store, bench, output, refit=refit)
    if shipped.recipe is None:
        raise StudyError(
            f"a study must have a complete trial before it is exported, got {study!r} without one: "
            "run 'automl-transfer search' on"
        )
    console().print(f"wrote {output}/: ranking.json, report.html, best_strategy.json, model/", markup=False)
