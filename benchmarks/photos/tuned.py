"""Plain Optuna over the plain recipe: the whole network transferred, the recipe itself enqueued first.

TPE, and Hyperband over epochs; rate, decay, batch, label smoothing, crops and epochs are searched. The best
epoch on validation of any trial is the answer, also of the trial that the end of the minutes cuts off.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import optuna
from cell import begin
from recipe import Recipe, Training, base_of

MOST_EPOCHS = 40


def main() -> None:
    cell = begin()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    base = base_of(cell)

    def objective(trial: optuna.Trial) -> float:
        recipe = Recipe(
            epochs=trial.suggest_int("epochs", 5, MOST_EPOCHS, log=True),
            rate=trial.suggest_float("rate", 1e-4, 1e-2, log=True),
            decay=trial.suggest_float("decay", 1e-3, 0.3, log=True),
            batch=trial.suggest_categorical("batch", [16, 32, 64]),
            smoothing=trial.suggest_float("smoothing", 0.0, 0.2),
            crop=trial.suggest_float("crop", 0.2, 1.0),
        )
        highest = 0.0

        def on_epoch(epoch: int, value: float) -> None:
            nonlocal highest
            highest = max(highest, value)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        Training(cell, recipe, copy.deepcopy(base)).run(on_epoch, until_spent=True)
        if cell.left() <= 0:
            trial.study.stop()
        return highest

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=cell.options.seed),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=MOST_EPOCHS),
    )
    plain = Recipe()
    study.enqueue_trial({
        "epochs": plain.epochs, "rate": plain.rate, "decay": plain.decay, "batch": plain.batch,
        "smoothing": plain.smoothing, "crop": plain.crop,
    })  # fmt: skip
    study.optimize(objective)  # the objective stops it: Optuna's timeout counts pauses
    if cell.kept is None:  # not one epoch fits
        cell.judge(base)
    assert cell.kept is not None
    base.load_state_dict(cell.kept)
    with cell.clock.stopped():
        predicted = cell.logits(base, "test").argmax(1)
    cell.finish(predicted, trials=len(study.trials))


if __name__ == "__main__":
    main()
