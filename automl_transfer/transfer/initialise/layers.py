"""How an initialiser is applied to whole layer groups."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from automl_transfer.domain import methods
from automl_transfer.models.traits import is_norm, is_vector
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
        if is_norm(layer):
            _reset_norm(layer)
            continue
        parameters = dict(layer.named_parameters(recurse=False))
        source = {key: p.clone() for key, p in parameters.items()}
        scales = [key for key, p in parameters.items() if _is_scale(key, p)]
        for key in scales:
            parameters[key].fill_(1.0)
        reset = getattr(layer, "reset_parameters", None)
        if scales and callable(reset):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
                reset()
        for key, parameter in parameters.items():
            if key in scales:
                continue
            if is_vector(parameter) and key.endswith("bias"):
                parameter.zero_()
            elif key.endswith("weight"):
                # Drawn on the CPU: a seed must give the same weights on every device.
                fresh = torch.empty(parameter.shape)
                draw(fresh, source[key], generator)
                parameter.copy_(fresh)
            else:
                fresh = torch.empty(parameter.shape)
                fixed.trunc_normal(fresh, parameter, generator)
                parameter.copy_(fresh)


def _is_scale(name: str, parameter: Tensor) -> bool:
    """Whether this is a vector and neither a bias nor a kernel of one pixel of each channel."""
    return (
        is_vector(parameter)
        and not name.endswith("bias")
        and not (parameter.dim() > 1 and name.endswith("weight"))
    )


def _reset_norm(layer: nn.Module) -> None:
    for name, parameter in layer.named_parameters(recurse=False):
        parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    reset = getattr(layer, "reset_parameters", None)
    if callable(reset):  # running statistics, and what else timm's own have
        reset()
