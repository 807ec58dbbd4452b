"""What a trained winner gets wrong, measured when it ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from automl_transfer.recipes.scores import Score
from automl_transfer.reporting.errors_of_winner import WinnerErrors, WrongImage
from automl_transfer.reporting.judging import calibration_bins, confusion_cells, expected_error, thumbnail
from automl_transfer.training.calibration import softmax

if TYPE_CHECKING:
    from automl_transfer.store.values import StudyHandle
    from automl_transfer.training.run import TrainingRun

WORST = 12


def winner_errors(
    run: TrainingRun,
    study: StudyHandle,
    root_trial: int,
    *,
    refit: bool,
    test: Score | None,
    temperature: float = 1.0,
) -> WinnerErrors | None:
    """Confusion, calibration and the worst images of a trained model.

    Its logits are divided by the temperature, so that probabilities are those that `predict` gives.
    On the validation split, so that nobody is led to tune on test images; a refitted model has trained
    on those, and is looked at on the test split, in the one evaluation that it gets. None where a refit
    left no image that it has not trained on.
    """
    from automl_transfer.training.evaluate import predict_logits

    if refit and not len(run.task.indices["test"]):
        return None
    split: Literal["validation", "test"] = "test" if refit and len(run.task.indices["test"]) else "validation"
    task, rows = run.task, run.task.indices[split]
    logits = predict_logits(run.model, task.images, rows, run.plan.normaliser(run.device), run.device)
    probabilities = softmax(logits, temperature)
    labels, answers = np.asarray(task.labels[rows]), probabilities.argmax(axis=1)
    cells = confusion_cells(labels, answers, len(task.task.classes))
    sure = probabilities[np.arange(len(rows)), answers]
    bins = calibration_bins(sure, answers == labels)
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:WORST]
    return WinnerErrors(
        study=study.name,
        identity=study.identity,
        root_trial=root_trial,
        split=split,
        images=len(rows),
        classes=task.task.classes,
        confusion=tuple((each.truth, each.answer, each.images) for each in cells),
        calibration=bins,
        expected_calibration_error=expected_error(bins),
        wrong=len(wrong),
        worst=tuple(
            WrongImage(
                file=task.keys[rows[at]],
                truth=task.task.classes[labels[at]],
                answer=task.task.classes[answers[at]],
                probability=float(sure[at]),
                of_truth=float(probabilities[at, labels[at]]),
                thumbnail=thumbnail(task.images[rows[at]]),
            )
            for at in worst
        ),
        test_accuracy=test.accuracy if test else None,
        test_interval=test.interval if test else None,
        test_images=test.n if test else 0,
    )
