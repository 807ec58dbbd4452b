"""Initialisers whose spread follows the number of inputs and outputs of a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def he_normal(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """N(0, 2 / fan_in): keeps the variance of activations through ReLU (He et al. 2015, eq. 10).

    Fan-in, because it is also right for grouped convolutions, whose fan-out a shape does not tell.
    """
    nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="relu", generator=generator)


def he_uniform(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """U(-b, b) with b = sqrt(6 / fan_in) (He et al. 2015)."""
    nn.init.kaiming_uniform_(weight, mode="fan_in", nonlinearity="relu", generator=generator)


def xavier_normal(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    nn.init.xavier_normal_(weight, generator=generator)


def xavier_uniform(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """U(-b, b) with b = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16)."""
    nn.init.xavier_uniform_(weight, generator=generator)


def orthogonal(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """Orthogonal rows or columns of the flattened weight, gain sqrt(2) (Saxe et al. 2014)."""
    nn.init.orthogonal_(weight, gain=2.0**0.5, generator=generator)
