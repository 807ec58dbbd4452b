"""The optimiser of a plan."""

from __future__ import annotations

from typing import Any

import torch

from automl_transfer.domain.strategy import Strategy
from automl_transfer.transfer.terms.base import is_part

FUSED_ON = ("cpu", "cuda")


def make_optimizer(
    strategy: Strategy, groups: list[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum (Sutskever et al. 2013) or AdamW (Loshchilov & Hutter 2019).

    Fused where the device has it: one pass over the weights instead of one kernel a tensor. Of sharded
    weights, torch has that for AdamW alone.
    """
    parts = any(is_part(p) for group in groups for p in group["params"])
    fused = device.type in FUSED_ON and not (parts and strategy.optimizer == "sgd")
    copies = [{**group, "params": list(group["params"])} for group in groups]
    if strategy.optimizer == "sgd":
        momentum = strategy.momentum
        return torch.optim.SGD(
            copies, lr=strategy.learning_rate, momentum=momentum, nesterov=momentum > 0.0, fused=fused
        )
    return torch.optim.AdamW(copies, lr=strategy.learning_rate, fused=fused)
