"""Accuracy of the nearest neighbours by leave-one-out: does the source put images of a class side by side?"""

from __future__ import annotations

import torch
from torch import Tensor

from automl_transfer.transfer.ridge import mean_of
from automl_transfer.transfer.scores.base import Seen

MOST_NEIGHBOURS = 20
MOST_ASKED = 2000
"""Of more images so many are judged, spread over all, by their neighbours among all."""
_CHUNK = 500


def neighbours(images: int, classes: int) -> int:
    """How many vote: 20, but no more than half as many as a class has images on average, and at least 1."""
    return max(1, min(MOST_NEIGHBOURS, images // (2 * classes), images - 1))


def knn(seen: Seen) -> float:
    """A share in [0, 1] of the images, each as it counts, whose nearest others are mostly of its class.

    Near is what has a small angle (cosine similarity of the features). What is left out together with an
    image has no vote on it. Of classes with as many votes the nearer one wins.
    """
    n = len(seen.labels)
    present = int((seen.sizes > 0).sum())
    k = neighbours(n, present)
    x = torch.nn.functional.normalize(seen.features.float(), dim=1)
    blocks = torch.arange(n) if seen.counts.blocks is None else seen.counts.blocks
    asked = torch.linspace(0, n - 1, min(n, MOST_ASKED), dtype=torch.float64).long()
    right = torch.cat([_right(seen, x, rows, blocks, k) for rows in torch.split(asked, _CHUNK)])
    weights = seen.counts.weights
    return float(mean_of(right, None if weights is None else weights[asked]))


def _right(seen: Seen, x: Tensor, rows: Tensor, blocks: Tensor, k: int) -> Tensor:
    """float64 (b,): 1 where the neighbours of these rows say the right class."""
    likeness = x[rows] @ x.T
    likeness[blocks[rows][:, None] == blocks[None]] = -torch.inf
    near, who = likeness.topk(k, dim=1)
    # Of as many votes the nearer ones win: all likenesses of k neighbours add up to less than one vote.
    votes = torch.where(near.isfinite(), 1.0 + near.clamp_min(-1.0) / (4.0 * k), 0.0)
    counted = torch.zeros(len(rows), seen.classes).scatter_add_(1, seen.labels[who], votes)
    said, own = counted.max(1), seen.labels[rows]
    return ((said.indices == own) & (said.values > 0)).double()
