"""Batch-norm statistics: where they are held, and how they are adapted to the target's images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from automl_transfer.aborting import check_abort
from automl_transfer.errors import OutOfMemoryError
from automl_transfer.models.heads import TargetModel
from automl_transfer.models.network import evaluating
from automl_transfer.transfer.features import (
    batch_for,
    give_back_memory,
    is_out_of_memory,
    pixel_elements,
    read_pixels,
)
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
    evaluation mode meanwhile. Out of memory begins anew with smaller batches.

    Raises:
        OutOfMemoryError: Not even batches of two fit.
        Aborted: That was asked for; asked before every batch.
    """
    if not layers or len(indices) < 2:
        return
    rows = indices[np.linspace(0, len(indices) - 1, min(len(indices), ADAPT_IMAGES)).astype(np.int64)]
    # Equal batches, because the average does not weigh them.
    parts = max(
        1,
        len(rows) // batch_for(pixel_elements(images.shape[1:3], model.resolution_scale), normalise.device),
    )
    momenta = [layer.momentum for layer in layers]
    with evaluating(model):
        for layer in layers:
            layer.momentum = None  # a cumulative average
            layer.training = True
        try:
            while not _averaged(model, layers, images, rows, parts, normalise):
                parts *= 2
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum


def _averaged(
    model: TargetModel,
    layers: list[BatchNorm],
    images: Images,
    rows: np.ndarray,
    parts: int,
    normalise: Normaliser,
) -> bool:
    """Average over this many equal batches; False where these do not fit in memory."""
    for layer in layers:
        layer.reset_running_stats()
    batch = -(-len(rows) // parts)
    rows = np.resize(rows, batch * parts)
    for start in range(0, len(rows), batch):
        check_abort()
        try:
            model.run(normalise(read_pixels(images, rows[start : start + batch])), len(model.groups))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batch <= 2:  # one image alone has no variance where its map is one pixel
                raise OutOfMemoryError(
                    f"statistics must fit in memory for {batch} images, they did not: choose a smaller "
                    "source or a lower resolution"
                ) from error
            break
    else:
        return True
    give_back_memory(normalise.device)  # outside of the handler, where the failed pass's tensors are gone
    return False
