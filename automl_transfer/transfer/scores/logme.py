"""LogME: the log evidence of a Bayesian linear model of the labels (You et al. 2021, algorithm 1).

For each class, y = X w + noise with w ~ N(0, I / alpha) and noise of variance 1 / beta; alpha and beta are
those of the greatest evidence, found by a fixed point (MacKay 1992): with s the eigenvalues of X'X,
gamma = sum_j beta s_j / (alpha + beta s_j), alpha = gamma / |m|^2, beta = (n - gamma) / |X m - y|^2, m the
mean of w. The score is the mean over classes of the log evidence by image, in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from automl_transfer.transfer.scores.base import Seen, Spectrum

_ROUNDS = 30
_TINY = 1e-12


def logme(seen: Seen) -> float:
    """From below 0 upwards; images count once, whatever the task says. Classes without an image are left out.

    Features are taken as they are, not centred, as in the paper: the model has no intercept.
    """
    n = len(seen.labels)
    axes = Spectrum.of(seen.features.double())
    present = seen.sizes > 0
    squares, counts = axes.squares, seen.sizes[present]
    along = axes.summed(seen.class_sums)[present].T  # (r, C) of V'X'y, classes side by side
    alpha, beta = torch.ones_like(counts), torch.ones_like(counts)
    weight = error = gamma = torch.zeros_like(counts)
    for _ in range(_ROUNDS):
        before = alpha / beta
        weight, error, gamma = _fit(squares, along, counts, alpha, beta)
        alpha = gamma / weight.clamp_min(_TINY) if len(squares) else alpha
        beta = (n - gamma).clamp_min(_TINY) / error.clamp_min(_TINY * n)
        if bool(((alpha / beta - before).abs() <= 1e-3 * before).all()):
            break
    rank = len(squares)
    spread = torch.log(alpha + beta * squares[:, None]).sum(0) if rank else torch.zeros_like(alpha)
    evidence = rank / 2 * alpha.log() + n / 2 * beta.log() - spread / 2
    evidence = evidence - beta * error / 2 - alpha * weight / 2 - n / 2 * math.log(2 * math.pi)
    return float(evidence.mean()) / n


def _fit(
    squares: Tensor, along: Tensor, counts: Tensor, alpha: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """|m|^2, |X m - y|^2 and gamma, each (C,), of the model with these alpha and beta."""
    bound = alpha + beta * squares[:, None]
    mean = beta * along / bound
    # |y|^2 is the number of the class's images, as y is 1 for these and 0 elsewhere.
    error = counts - 2.0 * (mean * along).sum(0) + (squares[:, None] * mean.square()).sum(0)
    return mean.square().sum(0), error.clamp_min(0.0), (beta * squares[:, None] / bound).sum(0)
