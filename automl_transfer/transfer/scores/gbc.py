"""GBC: how much the classes overlap, each taken for a Gaussian (Pandy et al. 2022).

-sum over ordered pairs of classes of exp(-D), D the Bhattacharyya distance of two diagonal Gaussians:
D = 1/8 sum_j (m_1j - m_2j)^2 / v_j + 1/2 sum_j ln(v_j / sqrt(v_1j v_2j)), v = (v_1 + v_2) / 2.
"""

from __future__ import annotations

import torch

from automl_transfer.transfer.scores.base import Seen

MOST_AXES = 64
"""Features are reduced to so many principal axes: with many more, no two classes overlap at all."""
_FLOOR = 1e-4
_PAIRS = 2_000_000


def gbc(seen: Seen) -> float:
    """From -C (C - 1), where no two classes differ, to 0, where none overlap.

    Images count once, whatever the task says. A variance is taken for at least a ten-thousandth of the mean
    one: a class of one image has none.
    """
    axes = seen.spectrum.images(MOST_AXES)
    present = seen.sizes > 0
    classes = int(present.sum())
    if not axes.shape[1]:
        return -float(classes * (classes - 1))
    means = seen.class_means(axes)
    deviations = axes - means[seen.labels]
    floor = _FLOOR * float(axes.square().mean())
    variances = seen.class_means(deviations.square())[present].clamp_min(floor)
    means, logs = means[present], variances.log().sum(1)
    overlap = 0.0
    for some in torch.split(torch.arange(classes), max(1, _PAIRS // (classes * axes.shape[1]))):
        middle = (variances[some][:, None] + variances[None]) / 2
        apart = ((means[some][:, None] - means[None]).square() / middle).sum(2) / 8
        wider = (middle.log().sum(2) - (logs[some][:, None] + logs[None]) / 2) / 2
        shared = torch.exp(-(apart + wider))
        shared[torch.arange(len(some)), some] = 0.0  # a class and itself are no pair
        overlap += float(shared.sum())
    return -overlap
