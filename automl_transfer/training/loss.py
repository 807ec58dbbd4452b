"""The training loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from automl_transfer.data.weights import Weights, balanced
from automl_transfer.transfer.terms.base import as_probabilities


def balanced_weights(labels: np.ndarray, classes: int, weights: Weights | None = None) -> Tensor:
    """N / (C n_c) for each class, 0 for a class that does not occur; with (n,) weights their sums."""
    return torch.from_numpy(balanced(labels, classes, weights).astype(np.float32))


class Loss:
    """Cross-entropy, or its generalisation, with label smoothing, class weights and weights of images.

    The mean over an effective batch: parts of it (gradient accumulation) add up to the same value.

    Args:
        smoothing: Of the targets.
        weights: (classes,); None weighs all the same.
        q: Of the generalised cross-entropy; 0 for the cross-entropy itself.
    """

    def __init__(self, smoothing: float, weights: Tensor | None, q: float = 0.0) -> None:
        self._smoothing = smoothing
        self._weights = weights
        self._q = q

    def weight(self, labels: Tensor, counts: Tensor | None = None) -> Tensor | float:
        """What the losses of these rows weigh together; `counts` is how often each one counts."""
        if counts is not None:
            return (counts if self._weights is None else counts * self._weights[labels]).sum()
        return float(len(labels)) if self._weights is None else self._weights[labels].sum()

    def __call__(
        self, logits: Tensor, targets: Tensor, total: Tensor | float, counts: Tensor | None = None
    ) -> Tensor:
        """The sum over a part of the batch, divided by the whole batch's weight.

        Targets are (B,) labels or (B, C) probabilities.
        """
        reduction = "sum" if counts is None else "none"
        if self._q > 0.0:
            value = generalised(logits, targets, self._q, self._smoothing, self._weights)
            value = value.sum() if counts is None else value
        else:
            value = F.cross_entropy(
                logits, targets, self._weights, label_smoothing=self._smoothing, reduction=reduction
            )
        return (value if counts is None else (counts * value).sum()) / total


def generalised(
    logits: Tensor, targets: Tensor, q: float, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """(B,) sums over classes of t_c w_c (1 - p_c^q) / q (Zhang & Sabuncu 2018, eq. 6).

    An image whose label the model finds unlikely pulls less than under the cross-entropy, which this is for
    q -> 0: a wrong label is learnt later. For q = 1 it is the mean absolute error. Targets t are (B,) labels
    or (B, C) probabilities.
    """
    classes = logits.shape[1]
    wanted = as_probabilities(targets, classes) * (1.0 - smoothing) + smoothing / classes
    each = -torch.expm1(q * torch.log_softmax(logits, dim=1)) / q
    return (wanted * (each if weights is None else each * weights)).sum(dim=1)


def counted(targets: Tensor, classes: int, counts: Tensor | None) -> Tensor:
    """(B, C) probabilities for terms that mix them, each row times how often it counts.

    What they mix is the loss, which is linear in this: a mixture leans towards what counts more.
    """
    found = as_probabilities(targets, classes)
    return found if counts is None else found * counts[:, None]


def uncounted(targets: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The probabilities again, and how often each row counts, after they were mixed."""
    if counts is None:
        return targets, None
    mixed = targets.sum(dim=1)
    return targets / mixed[:, None], mixed
