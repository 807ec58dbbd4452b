"""Takes out every name that not everybody has: of data, of a source's file, of a plugin's method."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from automl_transfer.domain import methods
from automl_transfer.domain.scores import SCORES
from automl_transfer.domain.signature import TaskSignature
from automl_transfer.domain.strategy import DIMENSIONS, Strategy
from automl_transfer.knowledge.document import KnownTask, StoredStrategy

_PUBLIC = re.compile(r"efficientnet-lite\d|scratch(/.*)?|(timm|torchvision)/.*")


def is_public(source: str) -> bool:
    """Whether a source's name is one that everybody has: no file of somebody's, no plugin's."""
    return _PUBLIC.fullmatch(source) is not None


def anonymous(known: KnownTask) -> KnownTask | None:
    """A task without such names; None where none of its strategies can be told without one.

    Sources become `unnamed-1` and so on. Strategies with a plugin's method are left out.
    """
    names: dict[str, str] = {}

    def public(source: str) -> str:
        return source if is_public(source) else names.setdefault(source, f"unnamed-{len(names) + 1}")

    def without(stored: StoredStrategy) -> StoredStrategy:
        strategy = stored.strategy()
        return StoredStrategy.of(strategy.model_copy(update={"source": public(strategy.source)}))

    kept = tuple(
        each.model_copy(update={"strategy": without(each.strategy)})
        for each in known.strategies
        if _is_built_in(each.strategy.strategy())
    )
    if not kept:
        return None
    changes = {
        "name": None,
        "signature": None if known.signature is None else _signature(known.signature, public),
        "solved": None if known.solved is None else without(known.solved),
        "strategies": kept,
    }
    return known.model_copy(update=changes)


def _signature(signature: TaskSignature, public: Callable[[str], str]) -> TaskSignature:
    def renamed(by_source: Mapping[str, Any]) -> dict[str, Any]:
        return {public(name): value for name, value in by_source.items()}

    scores = {name: renamed(each) for name, each in signature.scores.items() if name in SCORES}
    by_source = {name: renamed(getattr(signature, name)) for name in ("profile", "measured", "frechet")}
    return signature.model_copy(update={"scores": scores, **by_source})


def _is_built_in(strategy: Strategy) -> bool:
    roles = ((name, each.role) for name, each in DIMENSIONS.items())
    return all(getattr(strategy, name) in methods.built_in(role) for name, role in roles if role is not None)
