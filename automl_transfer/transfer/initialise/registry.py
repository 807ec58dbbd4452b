"""Names of initialisers, and how one is applied to whole layer groups."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from automl_transfer import plugins
from automl_transfer.errors import ConfigurationError
from automl_transfer.transfer.initialise import fixed, scaled, statistics

Initialiser = Callable[[Tensor, Tensor, torch.Generator], None]
"""Fills the first tensor in place; the second is the source's tensor of the same layer."""

INITIALISERS: dict[str, Initialiser] = {
    "he_normal": scaled.he_normal,
    "he_uniform": scaled.he_uniform,
    "xavier_normal": scaled.xavier_normal,
    "xavier_uniform": scaled.xavier_uniform,
    "orthogonal": scaled.orthogonal,
    "normal": fixed.normal,
    "uniform": fixed.uniform,
    "trunc_normal": fixed.trunc_normal,
    "zero": fixed.zero,
    "mean_var": statistics.mean_var,
}

NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def get_initialiser(name: str) -> Initialiser:
    """The initialiser of this name.

    Raises:
        ConfigurationError: There is none (the message lists all), or a plugin adds it and is broken.
    """
    if name in INITIALISERS:
        return INITIALISERS[name]
    added = plugins.names("initialisers", frozenset(INITIALISERS))
    if name not in added:
        known = ", ".join((*INITIALISERS, *added))
        raise ConfigurationError(f"rest_init must be one of {known}, got {name!r}")
    found: Initialiser = plugins.load(
        "initialisers", name, callable, "a function (weight, source, generator)"
    )
    return found


@torch.no_grad()
def initialise(module: nn.Module, name: str, generator: torch.Generator) -> None:
    """Give every layer of a module fresh weights, in place.

    Weights of convolutions, linear layers and the like are drawn; biases become 0; norm layers get
    weight 1, bias 0 and fresh running statistics; tokens, position embeddings and bias tables come
    from N(0, .02^2), truncated; other vectors (layer scale) take their layer's own start, else 1.
    """
    draw = get_initialiser(name)
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
