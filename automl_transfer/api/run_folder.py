"""Whose the output folder is: results of two studies are never mixed, and none are lost.

A folder belongs to the study that its `run.json` names by identity. To another study,

- it is refused while its owner is in the same store, under whatever name (it was renamed), or may be in
  another store, or where a study of this store keeps files in it;
- it is set aside, whole, under a name that says so, where its owner was in this very store and is gone:
  deleted, or with a database that was begun anew.

A folder of a version before identities belongs to the study of that name in this store, which takes it over.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from pydantic import ValidationError

from automl_transfer.api.report import ERRORS
from automl_transfer.api.retention import KEPT_STRATEGIES
from automl_transfer.api.training import MODEL, RECIPE
from automl_transfer.domain.model_description import WEIGHTS, read_description
from automl_transfer.domain.names import public_name, public_source
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.spec import ShipAs
from automl_transfer.errors import AutomlTransferError, OutputError
from automl_transfer.recipes.best_strategy import Recipe, read_recipe, write_recipe
from automl_transfer.recipes.model_folder import check_model_folder, restate_model
from automl_transfer.recipes.output import (
    Owner,
    check_output_folder,
    mark_output_folder,
    owner_of,
    write_text,
)
from automl_transfer.recipes.scores import Confirmed
from automl_transfer.recipes.shipped_as import AskedFor, ShippedAs
from automl_transfer.reporting.errors_of_winner import WinnerErrors
from automl_transfer.search.checkpoints import weights_are
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle

RANKING = "ranking.json"


def check_run_folder(store: Store, name: str, folder: Path) -> None:
    """Refuse a folder that a study must not write to, before the study is created or anything written.

    Raises:
        OutputError: It holds something else, or results of another study; says what to do.
    """
    check_output_folder(folder)
    if not _is_in_the_way(store, name, store.find(name=name), folder):
        check_model_folder(folder / MODEL)


def claim_run_folder(store: Store, study: StudyHandle, folder: Path) -> Path | None:
    """Make a folder this study's own. Safe to repeat, and done again before results are written.

    Returns:
        Where the results of a study that is gone were set aside; None where there were none.

    Raises:
        OutputError: As `check_run_folder`, or it cannot be written.
    """
    check_output_folder(folder)
    aside = None
    if _is_in_the_way(store, study.name, study, folder):
        try:
            aside = _name_aside(folder)
            folder.rename(aside)
        except OSError as error:
            raise OutputError(
                f"the results of an earlier study must be set aside before new ones are written, {folder} "
                f"cannot be renamed ({error.strerror}): move it away, or choose another --output"
            ) from error
    mark_output_folder(folder, Owner(study.name, study.identity, store.fingerprint))
    return aside


def _is_in_the_way(store: Store, name: str, study: StudyHandle | None, folder: Path) -> bool:
    """Whether a folder must be set aside for a study, which may not exist yet."""
    owner = owner_of(folder)
    if owner is None or (study is not None and owner.identity == study.identity):
        return False
    place = folder.resolve()
    here = [other for other, url in store.places().items() if _is_below(url, place)]
    guests = [other for other in here if study is None or other != study.name]
    if owner.identity is None:
        if study is not None and (owner.study == study.name or here == [study.name]):
            return False
        gone = owner.study == name or not guests
        where = f", which is not in {store.url}" if gone else ""
        raise _refused(folder, name, f"an earlier study {owner.study!r}{where}")
    alive = store.find(identity=owner.identity)
    if alive is not None:
        renamed = f" (once {owner.study!r})" if owner.study != alive.name else ""
        raise _refused(folder, name, f"study {alive.name!r}{renamed}")
    if owner.store != store.fingerprint:
        raise _refused(
            folder, name, f"another study {owner.study!r}, which is in another store than {store.url}"
        )
    if guests:
        raise _refused(folder, name, f"study {owner.study!r}, which is gone, and files of {guests[0]!r}")
    return True


def _is_below(url: str, folder: Path) -> bool:
    return "://" not in url and Path(url).is_relative_to(folder)


def _refused(folder: Path, name: str, owner: str) -> OutputError:
    return OutputError(
        f"the output folder must be new, empty or study {name!r}'s own, got {folder} with the results of "
        f"{owner}: choose another --output, or move that folder away"
    )


def _name_aside(folder: Path) -> Path:
    """A free name beside the folder that says what it holds."""
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    stem = f"{folder.name}-before-{time.strftime('%Y-%m-%d-%H%M%S')}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(folder.with_name(name) for name in names if not folder.with_name(name).exists())


def shipped_before(output: Path, study: StudyHandle, winner: TrialRecord) -> Recipe | None:
    """The recipe in a folder, where it and the model beside it are this winner's; None for anything else.

    The same study by its identity, the same trial with the same strategy, the same data, trained on the
    same splits, and the very weights that the recipe states. Files of versions before identities count
    where their weights are those that the trial left.
    """
    assert winner.strategy is not None
    try:
        recipe, described = read_recipe(output / RECIPE), read_description(output / MODEL)
    except AutomlTransferError:
        return None
    origin, training = recipe.provenance, recipe.training
    if origin.identity is None:
        trained = winner.outcome.weights_sha256 if winner.outcome is not None else None
        mine = origin.study == study.name and not training.refit and training.weights_sha256 == trained
    else:
        mine = origin.identity == study.identity == described.identity
    public = winner.strategy.model_copy(update={"source": public_source(winner.strategy.source)})
    same = (
        mine
        and (origin.trial, origin.root_trial) == (winner.number, winner.root)
        and recipe.strategy.key() == public.key()
        and recipe.task.fingerprint == study.task.fingerprint
    )
    return recipe if same and _holds(output / MODEL / WEIGHTS, training.weights_sha256) else None


def is_refitted(recipe: Recipe, refit: bool | None) -> bool:
    """Whether what ships was refitted as it is asked to be, each part of it; None asks for nothing."""
    parts = () if recipe.shipped_as is None else recipe.shipped_as.parts
    return refit in (None, recipe.training.refit) and not (refit and not all(part.refit for part in parts))


def asked_before(recipe: Recipe) -> AskedFor:
    """By what it was chosen; more than the winner counts as asked for by name where nothing says so."""
    if recipe.provenance.asked is not None:
        return recipe.provenance.asked
    return AskedFor(rule=recipe.kind, by_name=recipe.shipped_as is not None)


def named_before(output: Path, study: StudyHandle) -> ShipAs | None:
    """What somebody exported by name into a study's own folder, of whichever winner; None for nothing."""
    try:
        recipe = read_recipe(output / RECIPE)
    except AutomlTransferError:
        return None
    asked, mine = asked_before(recipe), recipe.provenance.identity == study.identity
    return asked.rule if mine and asked.by_name else None


def best_before(output: Path) -> frozenset[int] | None:
    """Roots of the best strategies when a folder was written; None where nothing says so."""
    try:
        found = json.loads((output / RANKING).read_bytes())
        return frozenset(int(row["root_trial"]) for row in found["rows"][:KEPT_STRATEGIES])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def alike(found: ShippedAs | None, wanted: ShippedAs | None) -> bool:
    """Whether a model was made of the same trials in the same way; refitted or not."""
    if found is None or wanted is None:
        return found is wanted

    def told(one: ShippedAs) -> object:
        parts = [(part.root_trial, part.weights_sha256, part.share) for part in one.parts]
        return one.kind, one.flips, parts

    return told(found) == told(wanted)


def restate(
    output: Path, study: StudyHandle, recipe: Recipe, confirmation: Confirmed | None, asked: AskedFor
) -> Recipe:
    """Bring a shipped recipe's evidence, its study's name, and why it ships, to what holds now.

    Nothing is trained, and files that say so already are not touched.
    """
    fresh = recipe.model_copy(
        update={
            "metrics": recipe.metrics.model_copy(update={"confirmation": confirmation}),
            "provenance": recipe.provenance.model_copy(
                update={"study": public_name(study.name), "identity": study.identity, "asked": asked}
            ),
        }
    )
    if fresh != recipe:
        _restate_errors(output / ERRORS, study, recipe)
        restate_model(output / MODEL, fresh)
        write_recipe(output / RECIPE, fresh)
    return fresh


def _restate_errors(path: Path, study: StudyHandle, recipe: Recipe) -> None:
    try:
        found = WinnerErrors.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return
    if (found.identity, found.root_trial) != (recipe.provenance.identity, recipe.provenance.root_trial):
        return
    write_text(path, found.model_copy(update={"study": study.name, "identity": study.identity}).to_json())


def _holds(weights: Path, sha256: str | None) -> bool:
    try:
        return weights_are(sha256)(weights)
    except OSError:
        return False
