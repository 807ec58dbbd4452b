"""A run's folder brought up to what the store knows, after a study was confirmed further."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from automl_transfer.api.finish import Shipped, finish_search
from automl_transfer.api.report import run_folder
from automl_transfer.api.training import RECIPE
from automl_transfer.errors import AutomlTransferError
from automl_transfer.recipes.best_strategy import read_recipe
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.store import Store
from automl_transfer.workers.sharing import SHIP, SharedWork


@dataclass(frozen=True)
class Refreshed:
    """What was written anew.

    Attributes:
        before: Number of the root trial that had been shipped.
    """

    folder: Path
    shipped: Shipped
    before: int


def refresh_run(store: Store, bench: Workbench) -> Refreshed | None:
    """Write ranking, page and evidence anew, and ship the winner where it is another one now.

    None where no winner was shipped yet, or none is found here: then there is nothing to bring up to date.

    Raises:
        Aborted: That was asked for.
    """
    folder = run_folder(bench.handle)
    if folder is None or not os.path.isfile(folder / RECIPE):  # noqa: PTH113 never raises
        return None
    try:
        earlier = read_recipe(folder / RECIPE)
    except AutomlTransferError:
        return None
    before = earlier.provenance.root_trial
    if before is None:  # no study's winner
        return None
    with SharedWork(store, bench.handle) as shared:
        shared.wait(SHIP)
        as_it_was = None if earlier.training.refit or earlier.kind == "soup" else False  # nobody insists
        shipped = finish_search(store, bench, folder, refit=as_it_was)
    return Refreshed(folder, shipped, before)
