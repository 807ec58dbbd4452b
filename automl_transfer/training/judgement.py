"""What an epoch is worth: a model's answers for the validation images, and the scores of these."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.records import EpochResult
from automl_transfer.errors import NotANumberError
from automl_transfer.models.heads import TargetModel
from automl_transfer.training.calibration import calibrated_nll
from automl_transfer.training.evaluate import Scores, right_answers, scores
from automl_transfer.training.inputs import Inputs
from automl_transfer.training.robustness import withstood_by
from automl_transfer.transfer.features import batch_for, forward_batches
from automl_transfer.transfer.pixels import Normaliser


def judged(
    model: TargetModel,
    logits_of: Callable[[Tensor], Tensor],
    inputs: Inputs,
    task: LoadedTask,
    normalise: Normaliser,
    epoch: int,
) -> tuple[np.ndarray, np.ndarray | None, Scores]:
    """(n, classes) float32 logits of the n validation images, which withstood the attack, and scores.

    Args:
        model: In evaluation mode.
        logits_of: Of what `inputs` read.
        inputs: Of the validation images.
        task: The images and the metric.
        normalise: From pixels to the model's input.
        epoch: For the message.

    Raises:
        NotANumberError: The loss is NaN or infinite.
    """
    rows = task.indices["validation"]
    batch = batch_for(inputs.elements, normalise.device)
    plain = forward_batches(inputs.read, logits_of, rows, batch).float().numpy()
    withstood = withstood_by(model, task, rows, normalise)
    found = scores(plain, task.labels[rows], len(task.task.classes), task.task.metric, withstood)
    if not math.isfinite(found.nll):
        raise NotANumberError(
            f"validation loss must be finite, got {found.nll} after epoch {epoch}: "
            "lower the learning rate or weight_scale"
        )
    return plain, withstood, found


def result_of(
    epoch: int,
    logits: np.ndarray,
    found: Scores,
    task: LoadedTask,
    train_loss: float | None,
    rate: float,
    seconds: float,
) -> EpochResult:
    """An epoch's row: what `judged` gave, and how it was trained."""
    labels = task.labels[task.indices["validation"]]
    return EpochResult(
        epoch=epoch,
        train_loss=train_loss,
        learning_rate=rate,
        seconds=seconds,
        validation_loss=found.nll,
        right=right_answers(logits, labels),
        calibrated_loss=calibrated_nll(logits, labels),
        **found.shares(),
    )
