"""`automl-transfer export`: the best-strategy file and the model of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli.options import (
    CacheOption,
    DataRootOption,
    DeviceOption,
    RefitOption,
    StorageFileOption,
    StorageOption,
    console,
    open_store,
)


def run(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    refit: RefitOption = False,
    storage: StorageOption = None,
    storage_file: StorageFileOption = None,
    data_root: DataRootOption = None,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
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
