"""A winner that an earlier call shipped: whether it is the very same, and what is known about it since."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from automl_transfer.api.report import ERRORS
from automl_transfer.api.training import MODEL, RECIPE
from automl_transfer.domain.model_description import WEIGHTS, read_description
from automl_transfer.domain.nothing_local import public_name, public_source
from automl_transfer.domain.records import TrialRecord
from automl_transfer.errors import AutomlTransferError
from automl_transfer.recipes.best_strategy import Recipe, read_recipe, write_recipe
from automl_transfer.recipes.model_folder import restate_model
from automl_transfer.recipes.output import write_text
from automl_transfer.recipes.scores import Confirmed
from automl_transfer.reporting.errors_of_winner import WinnerErrors
from automl_transfer.search.checkpoints import weights_are
from automl_transfer.store.values import StudyHandle


def shipped_before(
    output: Path, study: StudyHandle, winner: TrialRecord, *, refit: bool | None
) -> Recipe | None:
    """The recipe in a folder, where it and the model beside it are this winner's; None for anything else.

    The same study by its identity, the same trial with the same strategy, the same data, trained on the
    same splits, and the very weights that the recipe states. Files of versions before identities count
    where their weights are those that the trial left. With `refit` None it may be refitted or not.
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
        and refit in (None, training.refit)
    )
    return recipe if same and _holds(output / MODEL / WEIGHTS, training.weights_sha256) else None


def restate(output: Path, study: StudyHandle, recipe: Recipe, confirmation: Confirmed | None) -> Recipe:
    """Bring a shipped recipe's evidence, and its study's name, to what the store says now.

    Nothing is trained, and files that say so already are not touched.
    """
    fresh = recipe.model_copy(
        update={
            "metrics": recipe.metrics.model_copy(update={"confirmation": confirmation}),
            "provenance": recipe.provenance.model_copy(
                update={"study": public_name(study.name), "identity": study.identity}
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
