"""Parameter groups for the optimiser: one per (layer group, decays or not)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from automl_transfer.domain.strategy import Strategy, is_active
from automl_transfer.models.heads import TargetModel
from automl_transfer.models.traits import is_vector

Factors = Mapping[nn.Parameter, tuple[nn.Parameter, ...]]
USUAL_FEATURES = 1280
"""Of a head whose rate is the strategy's: what EfficientNet-Lite0 gives to its own."""


def group_rates(strategy: Strategy, groups: int, features: int) -> tuple[list[float], float]:
    """Learning rate of each layer group and of the head, which reads so many features.

    Layer decay counts from the top: the topmost group has the strategy's rate, each one below it
    `layer_decay` times its neighbour's (Bao et al. 2022, with the head apart).
    """
    values = strategy.model_dump()
    decay = strategy.layer_decay if is_active("layer_decay", values) else 1.0
    multiplier = strategy.head_lr_mult if is_active("head_lr_mult", values) else 1.0
    if strategy.head_rate == "fan_in" and is_active("head_rate", values):
        # A step of Adam moves each weight by the rate, so a logit by the rate times the sum of the features.
        multiplier *= USUAL_FEATURES / features
    rates = [strategy.learning_rate * decay ** (groups - 1 - number) for number in range(groups)]
    return rates, strategy.learning_rate * multiplier


def parameter_groups(
    model: TargetModel, strategy: Strategy, anchored: int, factors: Factors
) -> list[dict[str, Any]]:
    """Groups of trained parameters with `params`, `lr`, `weight_decay` and `name`, bottom to top.

    `factors` stand for the weight that they make up.

    No weight decay on vectors (`is_vector`), nor in the first `anchored` groups, which are pulled elsewhere.
    """
    rates, head_rate = group_rates(strategy, len(model.groups), model.head.linear.in_features)
    layers: list[tuple[str, nn.Module, bool, float]] = [
        (f"g{number + 1}", group, number < anchored, rates[number])
        for number, group in enumerate(model.groups)
    ]
    layers.append(("head", model.head, False, head_rate))
    found: list[dict[str, Any]] = []
    for title, module, is_anchored, rate in layers:
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for parameter in module.parameters():
            if parameter in factors:
                decayed.extend(factors[parameter])
            elif parameter.requires_grad:
                (plain if is_vector(parameter) or is_anchored else decayed).append(parameter)
        if decayed:
            found.append(
                {"params": decayed, "lr": rate, "weight_decay": strategy.weight_decay, "name": title}
            )
        if plain:
            found.append({"params": plain, "lr": rate, "weight_decay": 0.0, "name": f"{title}, no decay"})
    return found
