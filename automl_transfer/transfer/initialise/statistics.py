"""Initialisers that draw from the statistics of the source's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mean_var(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """N(mu, sigma^2) with mu, sigma of the source's tensor of the same layer (Raghu et al. 2019, 4.2)."""
    values = source.detach().float()
    mean, std = float(values.mean()), float(values.std(correction=0))
    nn.init.normal_(weight, mean=mean, std=std, generator=generator)
