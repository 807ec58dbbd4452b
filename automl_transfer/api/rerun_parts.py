"""A soup or an ensemble trained again, part by part, as its recipe says."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.api.composing import Voice, averaged, mean_of
from automl_transfer.api.rerun import OnEpoch, load_source, train_again
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.names import CHECKPOINT
from automl_transfer.errors import SourceError, UserError
from automl_transfer.recipes.best_strategy import Recipe, RecipeSource
from automl_transfer.recipes.shipped_as import Part, ShippedAs
from automl_transfer.training.calibration import fit_temperature
from automl_transfer.training.making import Judged, split_logits

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone
    from automl_transfer.training.run import TrainingRun


def train_parts_again(
    recipe: Recipe,
    shipped_as: ShippedAs,
    task: LoadedTask,
    source: str | None,
    device: str,
    on_epoch: OnEpoch,
    cache_root: Path | None = None,
) -> tuple[Judged, TrainingRun]:
    """What ships, and the winner among its parts.

    Arguments are those of `train_again`; `source` says where the source of the recipe lies.

    Raises:
        SourceError: A part's source is not on this machine; or it is a local file, and not the recipe's.
        UserError: The recipe does not say how long a part is trained.
    """
    runs, voices = [], []
    for part in shipped_as.parts:
        backbone = _source(recipe, part, source, task)
        epochs = recipe.training.epochs if part.epochs is None else part.epochs
        if not epochs and part.strategy.tune_mode != "closed_form":
            raise UserError(
                f"a recipe must state for how many epochs each part is trained, got none for trial "
                f"{part.trial}: an earlier version wrote it; export the study again, and verify that"
            )
        training = recipe.training.model_copy(update={"epochs": epochs})
        alone = recipe.model_copy(update={"strategy": part.strategy, "training": training})
        seed = training.seed
        train = partial(train_again, alone, task, backbone, seed, device, on_epoch, cache_root=cache_root)
        run, _ = train(stop_after=part.best_epoch)
        run.model.flips = False  # temperatures are of single looks
        validation = task.labels[task.indices["validation"]]
        heat = fit_temperature(split_logits(run, "validation"), validation).temperature
        if part.refit:
            kept = run.best.epoch if run.best is not None else None
            run, _ = train(refit=True, stop_after=kept if part.best_epoch is None else part.best_epoch)
        runs.append(run)
        voices.append(Voice(run, backbone.architecture, part.share, heat))
    for run in runs:
        run.model.flips = shipped_as.flips
    mine = [part.root_trial == recipe.provenance.root_trial for part in shipped_as.parts]
    winner = runs[mine.index(True)] if any(mine) else runs[0]
    return averaged(runs) if shipped_as.kind == "soup" else mean_of(voices), winner


def _source(recipe: Recipe, part: Part, source: str | None, task: LoadedTask) -> Backbone:
    name, others = part.strategy.source, {each.name: each for each in recipe.other_sources}
    # Of a local file only the base name is told: another part's may be called the same.
    if name == recipe.strategy.source and name not in others:
        return load_source(recipe, source, task, same=True)
    if name.startswith(CHECKPOINT):
        raise SourceError(
            f"the sources of all parts must be known by name here, got {name}, a local file, for trial "
            f"{part.trial}: export the study again with --as winner, and verify that"
        )
    known = others.get(name, RecipeSource(name=name))
    of_part = recipe.model_copy(update={"strategy": part.strategy, "source": known})
    return load_source(of_part, None, task, same=True)
