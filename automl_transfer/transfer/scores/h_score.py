"""The regularised H-score (Ibrahim, Ponomareva and Mazumder 2022, after Bao et al. 2019).

tr(S_a^-1 (1 - a) B), where S_a = (1 - a) S + a m I is the covariance S of the features shrunk towards its
mean variance m, and B the covariance of the class means, each as often as its class has images. How much is
shrunk, a, follows from Ledoit and Wolf 2004: a = min(b^2, d^2) / d^2 with d^2 = |S - m I|^2 and
b^2 = (sum_i |x_i|^4 / n - |S|^2) / n.
"""

from __future__ import annotations

import torch

from automl_transfer.transfer.scores.base import Seen


def h_score(seen: Seen) -> float:
    """From 0, where all classes have the same features, to about C - 1, where these tell all classes apart.

    Images count once, whatever the task says. Features without any variance tell nothing: 0.
    """
    n, width = seen.features.shape
    axes = seen.spectrum
    if not len(axes.squares):
        return 0.0
    variances = axes.squares / n
    mean = float(variances.sum()) / width
    squared = float(variances.square().sum())
    distance = squared - width * mean**2
    fourth = float(seen.centred.square().sum(1).square().sum()) / n
    shrunk = min((fourth - squared) / n, distance) / distance if distance > 1e-12 * squared else 0.0
    means = axes.summed(seen.class_means)
    between = (seen.sizes[:, None] * means.square()).sum(0) / (n - 1)
    kept = 1.0 - shrunk
    return float(torch.sum(kept * between / (kept * variances + shrunk * mean)))
