"""The one place where a trial becomes a strategy and a strategy becomes a trial's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from automl_transfer.domain.dimensions import Dimension
from automl_transfer.domain.strategy import DIMENSIONS, Strategy, is_active
from automl_transfer.space.space import Space


def suggest(ask: Callable[[Dimension], Any], space: Space) -> Strategy:
    """Ask for a value of every searched dimension that has an effect, in table order.

    Ranges depend on the study alone. A dimension without effect is not asked for and keeps its
    default, so that the sampler never learns from noise.
    """
    ranged = {dimension.name: dimension for dimension in space.searched}
    values: dict[str, Any] = {name: dimension.default for name, dimension in DIMENSIONS.items()}
    values.update(space.fixed)
    for name in DIMENSIONS:
        if name in ranged and is_active(name, values):
            values[name] = ask(ranged[name])
    return Strategy.of(values)


def in_space(strategy: Strategy, space: Space) -> dict[str, Any]:
    """The strategy's values for the searched dimensions that have an effect and lie in range.

    What lies outside (the profile may find a penalty beyond the searched range) is left out: the
    strategy itself stays the truth, and the sampler learns from the rest.
    """
    values = strategy.model_dump(mode="json")
    kept: dict[str, Any] = {}
    for dimension in space.searched:
        value = values[dimension.name]
        if not is_active(dimension.name, values):
            continue
        if dimension.kind == "categorical":
            if value in dimension.choices:
                kept[dimension.name] = value
        elif dimension.low <= value <= dimension.high:
            kept[dimension.name] = value
    return kept
