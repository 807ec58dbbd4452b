"""What an epoch is worth: a model's answers for the validation images, and the scores of these."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.records import EpochResult
from automl_transfer.errors import NotANumberError
from automl_transfer.training.calibration import calibrated_nll
from automl_transfer.training.evaluate import Scores, right_answers, scores
from automl_transfer.training.inputs import Inputs
from automl_transfer.transfer.features import batch_for, forward_batches


def judged(
    logits_of: Callable[[Tensor], Tensor],
    inputs: Inputs,
    task: LoadedTask,
    device: torch.device,
    epoch: int,
) -> tuple[np.ndarray, Scores]:
    """(n, classes) float32 logits of the n validation images, and their scores.

    Args:
        logits_of: Of what `inputs` read; the model is in evaluation mode.
        inputs: Of the validation images.
        task: The images and the metric.
        device: Where the model is.
        epoch: For the message.

    Raises:
        NotANumberError: The loss is NaN or infinite.
    """
    rows = task.indices["validation"]
    batch = batch_for(inputs.elements, device)
    plain = forward_batches(inputs.read, logits_of, rows, batch).float().numpy()
    found = scores(plain, task.labels[rows], len(task.task.classes), task.task.metric)
    if not math.isfinite(found.nll):
        raise NotANumberError(
            f"validation loss must be finite, got {found.nll} after epoch {epoch}: "
            "lower the learning rate or weight_scale"
        )
    return plain, found


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
