"""Batch-norm statistics: where they are held, and how they are adapted to the target's images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from automl_transfer.models.heads import TargetModel
from automl_transfer.models.network import evaluating
from automl_transfer.transfer.features import batch_for, pixel_elements, read_pixels
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.views import Images

ADAPT_IMAGES = 4096

BatchNorm = nn.modules.batchnorm._BatchNorm


def batch_norms(modules: Iterable[nn.Module]) -> list[BatchNorm]:
    """The batch-norm layers with running statistics, in order."""
    return [
        layer
        for module in modules
        for layer in module.modules()
        if isinstance(layer, BatchNorm) and layer.running_mean is not None
    ]


def followed_statistics(model: nn.Module) -> list[Tensor]:
    """Running means and variances of the batch-norm layers that follow what they see."""
    layers = [layer for layer in batch_norms([model]) if layer.training]
    return [each for layer in layers for each in (layer.running_mean, layer.running_var) if each is not None]


@torch.no_grad()
def adapt_statistics(
    model: TargetModel,
    layers: list[BatchNorm],
    images: Images,
    indices: np.ndarray,
    normalise: Normaliser,
) -> None:
    """Re-estimate running statistics from the target's images, in place (AdaBN, Li et al. 2016).

    Averages over equal batches of at most 4,096 images spread over `indices`; all other layers are in
    evaluation mode meanwhile.
    """
    if not layers or len(indices) < 2:
        return
    rows = indices[np.linspace(0, len(indices) - 1, min(len(indices), ADAPT_IMAGES)).astype(np.int64)]
    # Equal batches, because the average does not weigh them.
    parts = max(
        1,
        len(rows) // batch_for(pixel_elements(images.shape[1:3], model.resolution_scale), normalise.device),
    )
    batch = -(-len(rows) // parts)
    rows = np.resize(rows, batch * parts)
    momenta = [layer.momentum for layer in layers]
    with evaluating(model):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a cumulative average
            layer.training = True
        try:
            for start in range(0, len(rows), batch):
                model.run(normalise(read_pixels(images, rows[start : start + batch])), len(model.groups))
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
