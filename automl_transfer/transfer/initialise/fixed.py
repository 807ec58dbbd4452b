"""Initialisers with the same spread for every layer, whatever its size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SPREAD = 0.05
TRUNCATED_STD = 0.02


def normal(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """N(0, 0.05^2)."""
    nn.init.normal_(weight, std=SPREAD, generator=generator)


def uniform(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """U(-0.05, 0.05)."""
    nn.init.uniform_(weight, -SPREAD, SPREAD, generator=generator)


def trunc_normal(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """N(0, 0.02^2) cut at two standard deviations, the habit of vision transformers."""
    nn.init.trunc_normal_(
        weight, std=TRUNCATED_STD, a=-2 * TRUNCATED_STD, b=2 * TRUNCATED_STD, generator=generator
    )


def zero(weight: Tensor, source: Tensor, generator: torch.Generator) -> None:
    """All zero: a control, gradients reach such a layer only around it."""
    nn.init.zeros_(weight)
