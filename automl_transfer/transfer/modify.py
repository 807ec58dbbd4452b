"""Changes to the source's weights before training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

WEIGHT_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


def weight_layers(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The weights (not biases) of all convolution and linear layers, in order."""
    return [
        layer.weight for module in modules for layer in module.modules() if isinstance(layer, WEIGHT_LAYERS)
    ]


@torch.no_grad()
def scale_weights(modules: Iterable[nn.Module], factor: float) -> None:
    """Multiply the weights of convolution and linear layers by `factor`, in place."""
    if factor != 1.0:
        for weight in weight_layers(modules):
            weight.mul_(factor)


@torch.no_grad()
def prune_smallest(modules: Iterable[nn.Module], share: float) -> None:
    """Set this share of each layer's weights to zero, the smallest ones, in place (Han et al. 2015, 3.1).

    Applied to convolution and linear layers. Pruned weights may grow again where they train.
    """
    for weight in weight_layers(modules):
        count = int(share * weight.numel())
        if count:
            smallest = weight.abs().flatten().topk(count, largest=False).indices
            pruned = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
            pruned[smallest] = True
            weight.masked_fill_(pruned.view(weight.shape), 0.0)


@torch.no_grad()
def shrink_and_perturb(
    modules: Iterable[nn.Module], shrink: float, perturb: float, generator: torch.Generator
) -> None:
    """Theta <- shrink * theta + p, p ~ N(0, perturb^2), in place (Ash & Adams 2020, section 3).

    Applied to the weights of convolution and linear layers; does nothing where `shrink` is 1.
    """
    if shrink >= 1.0:
        return
    for weight in weight_layers(modules):
        noise = torch.empty(weight.shape).normal_(0.0, perturb, generator=generator)
        weight.mul_(shrink).add_(noise.to(weight))
