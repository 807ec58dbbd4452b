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

    They are those of at most 4,096 images spread over `indices`, in however many batches; all other layers
    are in evaluation mode meanwhile. Each batch is a random part of the images, always the same: what a layer
    sees is normalised by its batch below, and rows often stand class by class. Out of memory begins anew with
    smaller batches.

    Raises:
        OutOfMemoryError: Not even batches of two fit.
        Aborted: That was asked for; asked before every batch.
    """
    if not layers or len(indices) < 2:
        return
    rows = indices[np.linspace(0, len(indices) - 1, min(len(indices), ADAPT_IMAGES)).astype(np.int64)]
    shuffled = np.random.default_rng(0).permutation(rows)
    most = len(rows) // 2  # one image alone has no variance where its map is one pixel
    fit = batch_for(pixel_elements(images.shape[1:3], model.resolution_scale), normalise.device)
    parts = min(most, max(1, len(rows) // fit))
    momenta = [layer.momentum for layer in layers]
    with evaluating(model):
        for layer in layers:
            layer.momentum = 1.0  # a batch's own statistics, which `_Moments` merges
            layer.training = True
        try:
            while not _estimated(model, layers, images, np.array_split(shuffled, parts), normalise):
                if parts == most:
                    raise OutOfMemoryError(
                        f"statistics must fit in memory for {-(-len(rows) // parts)} images, they did not: "
                        "choose a smaller source or a lower resolution"
                    )
                parts = min(2 * parts, most)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum


def _estimated(
    model: TargetModel,
    layers: list[BatchNorm],
    images: Images,
    batches: list[np.ndarray],
    normalise: Normaliser,
) -> bool:
    """Take the statistics of these batches together; False where one does not fit in memory."""
    for layer in layers:
        layer.reset_running_stats()
    hooks = [layer.register_forward_hook(_Moments(layer)) for layer in layers]
    try:
        for rows in batches:
            check_abort()
            model.run(normalise(read_pixels(images, np.sort(rows))), len(model.groups))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    finally:
        for hook in hooks:
            hook.remove()
    give_back_memory(normalise.device)  # outside of the handler, where the failed pass's tensors are gone
    return False


class _Moments:
    """Mean and variance of all that a layer has seen, from those of each batch (Chan et al. 1979).

    With n values so far and m more, d apart in their means: the mean moves by d m / (n + m), and the sums of
    squares add up, with d^2 n m / (n + m).
    """

    def __init__(self, layer: BatchNorm) -> None:
        assert layer.running_mean is not None
        self._count = 0
        self._mean = self._variance = torch.zeros_like(layer.running_mean)

    def __call__(self, layer: BatchNorm, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """After a batch, whose statistics are in the layer: put those of all there."""
        assert layer.running_mean is not None
        assert layer.running_var is not None
        n, m = self._count, output.numel() // output.shape[1]
        d, self._count = layer.running_mean - self._mean, n + m
        self._mean = self._mean + d * (m / (n + m))
        # Shares of what divides the whole: one batch alone keeps its bits.
        mine, its, between = (each / (n + m - 1) for each in (n - 1, m - 1, n * m / (n + m)))
        self._variance = self._variance * mine + layer.running_var * its + d.square() * between
        layer.running_mean.copy_(self._mean)
        layer.running_var.copy_(self._variance)
