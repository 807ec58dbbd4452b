"""How an initialiser is applied to whole layer groups."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from automl_transfer.domain import methods
from automl_transfer.models.traits import NORM_LAYERS
from automl_transfer.transfer.initialise import fixed

Initialiser = Callable[[Tensor, Tensor, torch.Generator], None]
"""Fills the first tensor in place; the second is the source's tensor of the same layer."""


@torch.no_grad()
def initialise(module: nn.Module, name: str, generator: torch.Generator) -> None:
    """Give every layer of a module fresh weights, in place.

    Weights of convolutions, linear layers and the like are drawn; biases become 0; norm layers get
    weight 1, bias 0 and fresh running statistics; tokens, position embeddings and bias tables come
    from N(0, .02^2), truncated; other vectors (layer scale) take their layer's own start, else 1.
    """
    draw: Initialiser = methods.get("rest_init", name)
    for layer in module.modules():
        if isinstance(layer, NORM_LAYERS):
            _reset_norm(layer)
            continue
        parameters = dict(layer.named_parameters(recurse=False))
        vectors = [key for key, p in parameters.items() if p.dim() < 2 and not key.endswith("bias")]
        reset = getattr(layer, "reset_parameters", None)
        if vectors and callable(reset):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
                reset()
        for key, parameter in parameters.items():
            if parameter.dim() < 2 and key.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() < 2:
                if not callable(getattr(layer, "reset_parameters", None)):
                    parameter.fill_(1.0)
            elif key.endswith("weight"):
                # Drawn on the CPU: a seed must give the same weights on every device.
                fresh = torch.empty(parameter.shape)
                draw(fresh, parameter, generator)
                parameter.copy_(fresh)
            else:
                fresh = torch.empty(parameter.shape)
                fixed.trunc_normal(fresh, parameter, generator)
                parameter.copy_(fresh)


def _reset_norm(layer: nn.Module) -> None:
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if isinstance(weight, Tensor):
        weight.fill_(1.0)
    if isinstance(bias, Tensor):
        bias.zero_()
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.reset_running_stats()
