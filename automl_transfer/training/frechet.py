"""How far a task's images are from those that a source was trained on, as the source itself sees both.

The images a source was trained on are not here. Its batch norms keep what it saw of them: the running mean m
and variance v of every channel before every norm (Ioffe and Szegedy 2015). The same two numbers of the task's
images, m' and v', are taken at the same places, and the distance is the Frechet distance of diagonal
Gaussians (as in FID, Heusel et al. 2017), in units of the source's deviations, so that no layer outweighs the
others:

    d^2 = mean over layers, of means over channels, of ((m' - m)^2 + (sqrt(v') - sqrt(v))^2) / v

It is 0 where the images look to the source like its own; it knows nothing of labels. A source without batch
norms (a transformer, a network of layer norms) keeps no such record and has no distance; nor has one that was
not trained.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from automl_transfer.data.task import LoadedTask
from automl_transfer.models.heads import resize
from automl_transfer.models.network import Backbone
from automl_transfer.transfer.features import batch_for, forward_rows, pixel_elements
from automl_transfer.transfer.norms import BatchNorm, batch_norms
from automl_transfer.transfer.pixels import Normaliser

IMAGES = 64
"""So many are enough: a channel's moments are over all places of an image. (Digits at 32 pixels,
EfficientNet-Lite0: 1.270 on 32 images, 1.278 on 64, 1.276 on 400.)"""


class _Moments:
    """Sums over what a norm is given, by channel; on the CPU, as not every device has 64 bits."""

    def __init__(self, norm: BatchNorm) -> None:
        self._norm = norm
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        x = given[0].transpose(0, 1).flatten(1).cpu().double()
        self._count += x.shape[1]
        self._sum = self._sum + x.sum(1)
        self._squares = self._squares + x.square().sum(1)

    def squared(self) -> float:
        """The squared distance, a channel; NaN where the norm was not reached or a value is not finite."""
        if not isinstance(self._sum, Tensor) or not isinstance(self._squares, Tensor):
            return float("nan")
        assert self._norm.running_mean is not None
        assert self._norm.running_var is not None
        mean = self._sum / self._count
        std = (self._squares / self._count - mean.square()).clamp_min(0.0).sqrt()
        was = (self._norm.running_var.cpu().double() + self._norm.eps).sqrt()
        apart = (mean - self._norm.running_mean.cpu().double()).square() + (std - was).square()
        return float((apart / was.square()).mean())


@torch.no_grad()
def frechet_distance(
    backbone: Backbone, task: LoadedTask, normalise: Normaliser, rows: np.ndarray, scale: float = 1.0
) -> float | None:
    """The distance, by a pass of a few images spread over the rows; None where the source has none.

    Args:
        backbone: In evaluation mode; it stays as it is.
        task: The images.
        normalise: From pixels to the network's input.
        rows: Of the task.
        scale: Images are resized by this factor.
    """
    norms = batch_norms(backbone.groups)
    if not backbone.pretrained or not norms:
        return None
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), IMAGES)).astype(np.int64)]
    factor = task.still(scale)
    moments = [_Moments(norm) for norm in norms]
    hooks = [norm.register_forward_pre_hook(each) for norm, each in zip(norms, moments, strict=True)]
    try:
        forward_rows(
            lambda x: backbone.run(resize(x, factor)).flatten(1)[:, 0], task.images, some, normalise,
            batch_for(pixel_elements(task.images.shape[1:3], factor), normalise.device),
        )  # fmt: skip
    finally:
        for hook in hooks:
            hook.remove()
    reached = [squared for each in moments if np.isfinite(squared := each.squared())]
    return float(np.sqrt(np.mean(reached))) if reached else None
