"""`export`: the results of a study, while it runs or long after; what ships may be more than the winner."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from automl_transfer.api.finish import Shipped, finish_search
from automl_transfer.api.offers import Offer
from automl_transfer.api.run_folder import check_run_folder
from automl_transfer.domain.spec import ShipAs
from automl_transfer.errors import StudyError
from automl_transfer.machine import DEFAULT_DATABASE, ensure_home, path_of
from automl_transfer.recipes.output import owner_of
from automl_transfer.reporting.study_report import read_study_report
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL, resolve_storage
from automl_transfer.store.values import StudyHandle
from automl_transfer.workers.sharing import SHIP, SharedWork

log = logging.getLogger(__name__)


def export(
    study: str,
    output: str | PathLike[str],
    *,
    kind: ShipAs | None = None,
    flips: bool = False,
    trials: Sequence[int] = (),
    refit: bool | None = None,
    storage: str | StoreURL | None = None,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
) -> Shipped:
    """Write ranking, report, recipe and model of a study; what ships is measured beside the winner.

    >>> export("garments", "mixed", kind="soup").recipe.shipped_as.comparison()  # doctest: +SKIP
    'on validation: winner 0.8240, soup of 2 0.8320, ensemble of 3 0.8280 (n = 250); ...'

    Args:
        study: Its name.
        output: Folder for the results: new, empty, or the study's own; there it waits while a search of the
            study ships.
        kind: `winner`; `soup`: the mean of the weights of the best trials that share a source and a shape, as
            far as it helps; `ensemble`: the mean of the probabilities of up to four trials; `auto`: the
            winner, unless an ensemble of two is clearly better on validation. None: as the study says.
        flips: Predict from an image and its mirror image together.
        trials: Numbers of the trials that a soup or an ensemble may be made of; none for the best ones.
        refit: Train what ships on training and validation images together first; None does so unless it
            shipped before as it was. Never a soup.
        storage: As for a search.
        device: As for a search.
        data_root: As for a search.
        cache_root: As for a search.

    Raises:
        ConfigurationError: These options cannot be together.
        StudyError: There is no such study, it has no complete trial, its data are others here, or what is
            asked for cannot be made of its trials; nothing was written.
        OutputError: The folder is another's, or cannot be written.
    """
    ensure_home()
    offer = Offer(kind, flips, tuple(trials))
    offer.check(refit)
    url = storage if isinstance(storage, StoreURL) else resolve_storage(storage, None, DEFAULT_DATABASE)
    with Store.open(url, read_only=url.is_missing) as store:  # said, not created
        return export_from(
            store,
            study,
            path_of(output),
            offer,
            refit=refit,
            device=device,
            data_root=data_root,
            cache_root=cache_root,
        )


def export_from(
    store: Store,
    study: str,
    output: Path,
    offer: Offer,
    *,
    refit: bool | None = None,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
) -> Shipped:
    """The same, from a store that is open."""
    handle = store.study(study)
    offer.of(handle.spec).check(refit)
    check_run_folder(store, handle.name, output)
    if read_study_report(store, handle).ranking.best is None:  # before images are read, and results written
        raise StudyError(
            f"a study must have a complete trial before it is exported, got {study!r} without one: "
            "run 'automl-transfer search' on"
        )
    bench = Workbench.open(handle, device=device, data_root=data_root, cache_root=cache_root)
    with _nobody_else_writes(store, handle, output):
        return finish_search(store, bench, output, refit=refit, offer=offer)


@contextmanager
def _nobody_else_writes(store: Store, study: StudyHandle, output: Path) -> Iterator[None]:
    """Wait while a search, a worker or another export ships into the study's own folder."""
    owner = owner_of(output)
    if store.read_only or owner is None or owner.identity != study.identity:
        yield
        return
    with SharedWork(store, study) as shared:
        shared.wait(SHIP, lambda: log.warning("%s: waiting while another process ships into it", output))
        yield
