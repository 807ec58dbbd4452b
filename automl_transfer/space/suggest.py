"""The one place where a trial becomes a strategy and a strategy becomes a trial's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from automl_transfer.domain.dimensions import ALL_TRAITS, Dimension, Trait, co_tunes_a_part
from automl_transfer.domain.strategy import DIMENSIONS, Strategy, is_active
from automl_transfer.space.space import Space

TraitsOf = Callable[[str], frozenset[Trait]]
"""From a source's name to what its network has; asked only where a searched dimension needs something."""


def anything(source: str) -> frozenset[Trait]:
    """Of sources that have whatever is needed."""
    return ALL_TRAITS


def suggest(ask: Callable[[Dimension], Any], space: Space, traits_of: TraitsOf = anything) -> Strategy:
    """Ask for a value of every searched dimension that has an effect, in table order.

    Ranges depend on the study alone. A dimension without effect, or that the source cannot take, is not asked
    for and keeps its default, so that the sampler never learns from noise. A single choice that the source,
    or the part of it that is transferred, cannot take is the default, too.
    """
    ranged = {dimension.name: dimension for dimension in space.searched}
    values: dict[str, Any] = {name: dimension.default for name, dimension in DIMENSIONS.items()}
    values.update(space.fixed)
    for name in DIMENSIONS:
        if name in ranged and _is_open(ranged[name], values, traits_of):
            asked = ask(ranged[name])
            values[name] = (
                asked if _can_be(ranged[name], asked, values, traits_of) else DIMENSIONS[name].default
            )
    return Strategy.of(values)


def _is_open(dimension: Dimension, values: Mapping[str, Any], traits_of: TraitsOf) -> bool:
    """Whether a dimension has an effect, and its source what all of it needs."""
    if not is_active(dimension.name, values):
        return False
    return dimension.needs is None or dimension.needs in traits_of(values["source"])


def _can_be(dimension: Dimension, value: Any, values: Mapping[str, Any], traits_of: TraitsOf) -> bool:
    """Whether the source, and the part of it that was drawn before, can take this choice."""
    needed = dimension.choice_needs.get(value)
    has = needed is None or needed in traits_of(values["source"])
    return has and not co_tunes_a_part({**values, dimension.name: value})


def in_space(strategy: Strategy, space: Space, traits_of: TraitsOf = anything) -> dict[str, Any]:
    """The strategy's values for the searched dimensions that have an effect and lie in range.

    What lies outside (the profile may find a penalty beyond the searched range) is left out: the
    strategy itself stays the truth, and the sampler learns from the rest.
    """
    values = strategy.model_dump(mode="json")
    kept: dict[str, Any] = {}
    for dimension in space.searched:
        value = values[dimension.name]
        if not _is_open(dimension, values, traits_of):
            continue
        if dimension.kind == "categorical":
            if value in dimension.choices:
                kept[dimension.name] = value
        elif dimension.low <= value <= dimension.high:
            kept[dimension.name] = value
    return kept
