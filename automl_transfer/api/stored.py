"""The trained network of a trial: its stored weights, or trained again where there are none."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.api.training import training_of
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.strategy import Strategy
from automl_transfer.recipes.best_strategy import RecipeTraining
from automl_transfer.search.checkpoints import fetch, weights_are
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.files import model_key
from automl_transfer.training.making import make_run, train_to_the_end

if TYPE_CHECKING:
    from torch import Tensor

    from automl_transfer.training.run import TrainingRun


def trained(bench: Workbench, winner: TrialRecord, *, refit: bool) -> tuple[TrainingRun, RecipeTraining]:
    """The winner's trained model: its stored weights, or trained again where there are none."""
    assert winner.strategy is not None
    search = bench.handle.spec.search
    best_epoch = winner.outcome.best_epoch if winner.outcome else None
    run = None if refit else stored(bench, winner)
    kept = run is not None
    if run is None:
        run = _made(bench, winner.strategy, refit=refit)
        if best_epoch is not None:  # of a refit the validation images judge nothing; else it is known
            run.train_to(best_epoch)
            run.load_shown()
        else:
            train_to_the_end(run)
    run.model.eval()
    training = training_of(
        run,
        bench.horizon,
        search.seed,
        best_epoch=best_epoch,
        refit=refit,
        conditions=winner.outcome.conditions if kept and winner.outcome else None,
    )
    return run, training


def stored(bench: Workbench, record: TrialRecord) -> TrainingRun | None:
    """A trial with the weights that it left; None where they are gone, or not what they were."""
    from safetensors.torch import load_file

    assert record.strategy is not None
    is_right = weights_are(record.outcome.weights_sha256 if record.outcome else None)
    with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
        file = Path(folder) / "model.safetensors"
        try:
            if not fetch(bench.handle, model_key(record.root, record.attempt), file, is_right):
                return None
            return _made(bench, record.strategy, weights=load_file(str(file)))
        except (OSError, RuntimeError):
            return None


def _made(
    bench: Workbench, strategy: Strategy, *, refit: bool = False, weights: Mapping[str, Tensor] | None = None
) -> TrainingRun:
    search = bench.handle.spec.search
    return make_run(
        strategy,
        bench.task,
        bench.backbone(strategy.source),
        horizon=bench.horizon,
        seed=search.seed,
        device=bench.device,
        refit=refit,
        cache=bench.activations,
        known=bench.banks,
        weights=weights,
        precision=search.precision,
    )
