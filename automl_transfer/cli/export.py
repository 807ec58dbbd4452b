"""`automl-transfer export`: the best-strategy file and the model of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import open_store
from automl_transfer.cli.screen import console

if TYPE_CHECKING:
    from automl_transfer.store.store import Store


def run(
    study: options.StudyOfStore,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    kind: options.As = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="Predict from each image and its mirror image together.")
    ] = False,
    trials: Annotated[
        str | None,
        typer.Option("--trials", metavar="N,N,...", help="What a soup or an ensemble may be made of."),
    ] = None,
    refit: options.Refit = None,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
) -> None:
    """Write ranking.json, best_strategy.json and model/ of a study, also while it is still running.

    More than the winner may ship: several trials together, flips. It is measured beside the winner.
    Without --as it is as the study says (its ship_as).

    \b
    $ automl-transfer export garments --output mixed --as soup
    on validation: winner 0.8240, soup of 2 0.8320, ensemble of 3 0.8280 (n = 250); the soup of 2 predicts 1.0 x as long as the winner alone
    wrote mixed/: ranking.json, report.html, best_strategy.json, model/
    """  # noqa: E501  (as it is printed)
    from automl_transfer.api.exporting import export_from
    from automl_transfer.api.offers import Offer

    offer = Offer(None if kind is None else kind.value, flips, _numbers(trials))
    offer.check(refit)
    with _store(storage, storage_file) as store:
        shipped = export_from(
            store, study, output, offer, refit=refit, device=device, data_root=data_root, cache_root=cache
        )
    assert shipped.recipe is not None
    if shipped.recipe.shipped_as is not None:
        console().print(shipped.recipe.shipped_as.comparison(), markup=False, soft_wrap=True)
    console().print(f"wrote {output}/: ranking.json, report.html, best_strategy.json, model/", markup=False)


def _store(storage: str | None, storage_file: Path | None) -> Store:
    """One that keeps that the test split was looked at; to be read only where nothing else is allowed."""
    from automl_transfer.errors import StoreURLError

    try:
        return open_store(storage, storage_file, create=False)
    except StoreURLError:
        return open_store(storage, storage_file, create=False, read_only=True)


def _numbers(text: str | None) -> tuple[int, ...]:
    from automl_transfer.errors import ConfigurationError

    try:
        return tuple(int(each) for each in (text or "").split(",") if each.strip())
    except ValueError:
        raise ConfigurationError(f"--trials must be numbers with commas between, got {text!r}") from None
