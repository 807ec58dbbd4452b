"""Predictions of a model on stored images, their scores, and how long they take."""

from __future__ import annotations

import time

import numpy as np
import torch
from pydantic import ConfigDict

from automl_transfer import plugins
from automl_transfer.domain.attack import attack_of
from automl_transfer.domain.evidence import pack_bits
from automl_transfer.domain.measured import MEASURED, Measured, load_metric
from automl_transfer.domain.records import MOST_BITS
from automl_transfer.errors import ConfigurationError, OutOfMemoryError
from automl_transfer.models.heads import TargetModel
from automl_transfer.models.network import evaluating
from automl_transfer.training.calibration import log_likelihood
from automl_transfer.transfer.features import (
    batch_for,
    forward_rows,
    give_back_memory,
    is_out_of_memory,
    pixel_elements,
    read_pixels,
)
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.together import Ensemble


class Scores(Measured):
    """Scores in [0, 1], and mean cross-entropy in nats, which need not be finite."""

    model_config = ConfigDict(allow_inf_nan=True)

    nll: float


def predict_logits(
    model: TargetModel | Ensemble,
    images: np.ndarray,
    indices: np.ndarray,
    normalise: Normaliser,
    device: torch.device | str = "cpu",
    batch: int | None = None,
) -> np.ndarray:
    """(len(indices), classes) float32 logits, in evaluation mode; the model's modes stay as they were.

    Raises:
        OutOfMemoryError: Not even one image fits in memory.
    """
    elements = pixel_elements(images.shape[1:3], scale=model.resolution_scale)
    batch = batch or batch_for(elements, device)
    with evaluating(model.to(device)):
        return np.asarray(forward_rows(model, images, indices, normalise, batch).float().numpy())


def right_answers(logits: np.ndarray, labels: np.ndarray) -> str | None:
    """Which of (n, classes) logits are right, as `EpochResult.right` has it; None where they are too many."""
    if len(labels) > MOST_BITS:
        return None
    return pack_bits((logits.argmax(axis=1) == labels).tolist())


def scores(
    logits: np.ndarray,
    labels: np.ndarray,
    classes: int,
    metric: str = "accuracy",
    withstood: np.ndarray | None = None,
) -> Scores:
    """Scores of (n, classes) logits against (n,) labels, n >= 1.

    Balanced accuracy is the mean recall of classes that occur in the labels; macro F1 the mean over
    classes that occur in labels or predictions (as scikit-learn has it). A metric that is none of these is
    measured, too; of one that is measured under an attack, `withstood` are the (n,) answers
    (`robustness.withstands`).

    Raises:
        ConfigurationError: It is not installed, or gives no number in [0, 1].
    """
    nll = 0.0 - float(np.mean(log_likelihood(logits, labels)))  # never -0
    predicted = logits.argmax(axis=1)
    table = np.bincount(labels * classes + predicted, minlength=classes * classes)
    table = table.reshape(classes, classes)  # rows: truth, columns: prediction
    hits, truth, guesses = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    recall = hits[truth > 0] / truth[truth > 0]
    seen = truth + guesses > 0
    f1 = 2.0 * hits[seen] / (truth + guesses)[seen]
    return Scores(
        nll=nll,
        accuracy=float(hits.sum() / len(labels)),
        balanced_accuracy=float(recall.mean()),
        macro_f1=float(f1.mean()),
        other=_other(metric, logits, labels, withstood),
    )


def _other(metric: str, logits: np.ndarray, labels: np.ndarray, withstood: np.ndarray | None) -> float | None:
    if attack_of(metric) is not None:
        assert withstood is not None, f"{metric} needs more than logits"
        return float(withstood.mean())
    return None if metric in MEASURED else _measured(metric, logits, labels)


def _measured(metric: str, logits: np.ndarray, labels: np.ndarray) -> float:
    if not np.isfinite(logits).all():
        return 0.0  # the loss says so, and ends the trial
    found = plugins.made("metrics", metric, load_metric(metric), logits.copy(), labels.copy())
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0.0 <= value <= 1.0:
        raise ConfigurationError(f"the metric {metric!r} must give a number in [0, 1], got {found!r}")
    return value


@torch.no_grad()
def measure_latency(
    model: TargetModel | Ensemble,
    images: np.ndarray,
    normalise: Normaliser,
    device: torch.device | str = "cpu",
    batch: int = 32,
    repeats: int = 5,
) -> float:
    """Milliseconds to predict one image, from stored pixels to logits: median over a few batches.

    These have `batch` images, or as many as fit in memory.

    Raises:
        OutOfMemoryError: Not even one image fits in memory.
    """
    device = torch.device(device)
    with evaluating(model.to(device)):
        while True:
            pixels = read_pixels(images, np.arange(batch) % len(images))
            try:
                seconds = _seconds_of_a_pass(model, pixels, normalise, repeats)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if batch == 1:
                    raise OutOfMemoryError(
                        "a prediction must fit in memory for one image, it did not: choose a smaller "
                        "source or a lower resolution"
                    ) from error
            else:
                return seconds * 1000.0 / batch
            batch = -(-batch // 2)
            give_back_memory(device)


def _seconds_of_a_pass(
    model: TargetModel | Ensemble, pixels: torch.Tensor, normalise: Normaliser, repeats: int
) -> float:
    """The median; the first pass, which warms up, does not count."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model(normalise(pixels)).cpu()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))
