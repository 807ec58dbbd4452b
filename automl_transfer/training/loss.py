"""The training loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def balanced_weights(labels: np.ndarray, classes: int) -> Tensor:
    """N / (C n_c) for each class, 0 for a class that does not occur."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    weights = np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1.0)), 0.0)
    return torch.from_numpy(weights.astype(np.float32))


class Loss:
    """Cross-entropy with label smoothing and class weights.

    The mean over an effective batch: parts of it (gradient accumulation) add up to the same value.
    """

    def __init__(self, smoothing: float, weights: Tensor | None) -> None:
        self._smoothing = smoothing
        self._weights = weights

    def weight(self, labels: Tensor) -> Tensor | float:
        """What the losses of these rows weigh together."""
        return float(len(labels)) if self._weights is None else self._weights[labels].sum()

    def __call__(self, logits: Tensor, targets: Tensor, total: Tensor | float) -> Tensor:
        """The sum over a part of the batch, divided by the whole batch's weight.

        Targets are (B,) labels or (B, C) probabilities.
        """
        value = F.cross_entropy(
            logits, targets, weight=self._weights, label_smoothing=self._smoothing, reduction="sum"
        )
        return value / total
