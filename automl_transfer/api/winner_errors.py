"""What a trained winner gets wrong, measured when it ships."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Literal

import numpy as np

from automl_transfer.recipes.best_strategy import Score
from automl_transfer.reporting.errors_of_winner import CalibrationBin, WinnerErrors, WrongImage

if TYPE_CHECKING:
    from automl_transfer.training.run import TrainingRun

BINS = 10
WORST = 12
THUMBNAIL = 96


def winner_errors(
    run: TrainingRun, study: str, root_trial: int, *, refit: bool, test: Score | None
) -> WinnerErrors:
    """Confusion, calibration and the worst images of a trained model.

    On the validation split, so that nobody is led to tune on test images; a refitted model has trained
    on those, and is looked at on the test split, in the one evaluation that it gets.
    """
    from automl_transfer.training.evaluate import predict_logits

    split: Literal["validation", "test"] = "test" if refit and len(run.task.indices["test"]) else "validation"
    task, rows = run.task, run.task.indices[split]
    logits = predict_logits(run.model, task.images, rows, run.plan.normaliser(run.device), run.device)
    wide = logits.astype(np.float64)
    wide = np.exp(wide - wide.max(axis=1, keepdims=True))
    probabilities = wide / wide.sum(axis=1, keepdims=True)
    labels, answers = np.asarray(task.labels[rows]), probabilities.argmax(axis=1)
    count = len(task.task.classes)
    cells, images = np.unique(labels * count + answers, return_counts=True)
    sure = probabilities[np.arange(len(rows)), answers]
    bins = _calibration(sure, answers == labels)
    error = sum(abs(b.correct / b.images - b.confidence) * b.images for b in bins) / len(rows)
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:WORST]
    return WinnerErrors(
        study=study,
        root_trial=root_trial,
        split=split,
        images=len(rows),
        classes=task.task.classes,
        confusion=tuple(
            (int(cell) // count, int(cell) % count, int(number))
            for cell, number in zip(cells, images, strict=True)
        ),
        calibration=tuple(bins),
        expected_calibration_error=float(error),
        wrong=len(wrong),
        worst=tuple(
            WrongImage(
                file=task.keys[rows[at]],
                truth=task.task.classes[labels[at]],
                answer=task.task.classes[answers[at]],
                probability=float(sure[at]),
                of_truth=float(probabilities[at, labels[at]]),
                thumbnail=_thumbnail(task.images[rows[at]]),
            )
            for at in worst
        ),
        test_accuracy=test.accuracy if test else None,
        test_interval=test.interval if test else None,
        test_images=test.n if test else 0,
    )


def _calibration(sure: np.ndarray, right: np.ndarray) -> list[CalibrationBin]:
    """Bins of equal width (Guo et al. 2017, section 2); empty ones are left out."""
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    return [
        CalibrationBin(
            low=at / BINS,
            high=(at + 1) / BINS,
            images=int((place == at).sum()),
            confidence=float(sure[place == at].mean()),
            correct=int(right[place == at].sum()),
        )
        for at in range(BINS)
        if (place == at).any()
    ]


def _thumbnail(pixels: np.ndarray) -> str:
    from PIL import Image

    image = Image.fromarray(np.asarray(pixels).squeeze())
    small = max(image.size) < THUMBNAIL
    scale = THUMBNAIL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
