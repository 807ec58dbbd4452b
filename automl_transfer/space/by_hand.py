"""One strategy by hand: what a person typed for it, checked as a study file is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automl_transfer.domain.spec import Scalar, StudySpec
from automl_transfer.domain.strategy import DIMENSIONS, Strategy, is_active
from automl_transfer.errors import ConfigurationError
from automl_transfer.space.space import SEARCH, Space
from automl_transfer.space.study_file import checked_study


@dataclass(frozen=True)
class ByHand:
    """A strategy with its task and horizon.

    Attributes:
        spec: Its space fixes the dimensions that were named; nothing is searched.
        idle: A line for each dimension that was named and has no effect in this strategy.
    """

    spec: StudySpec
    strategy: Strategy
    idle: tuple[str, ...]


def by_hand(
    task: Mapping[str, Any],
    settings: Mapping[str, Any],
    start: Strategy,
    **search: Any,
) -> ByHand:
    """A strategy of which `settings` names dimensions, and `start` has the others.

    Args:
        task: Fields of a `TaskSpec`.
        settings: Dimensions (`{"tune_mode": "full"}`) and fields of the task (`{"task.resolution": 64}`).
        start: Dimensions that are not named are as here.
        search: Fields of a `SearchSpec`; None for those that are not given.

    Raises:
        ConfigurationError: With every mistake.
    """
    mistakes: list[str] = []
    named: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for key, value in settings.items():
        room, dot, field = key.partition(".")
        if not dot:
            named[key] = value
        elif room == "task" and field != "dataset":
            said[f"task__{field.replace('.', '__')}"] = value
        else:
            mistakes.append(
                f"{key}: must be a dimension of the strategy (tune_mode=full) or of the task "
                f"(task.resolution=64), got {key!r}"
            )
    several = {n: v for n, v in named.items() if v == SEARCH or not isinstance(v, Scalar)}
    mistakes += [
        f"{name}: must be one value, got {value!r}: a search tries several" for name, value in several.items()
    ]
    document = {
        "name": "by-hand",
        "task": {name: value for name, value in task.items() if value is not None},
        "search": {name: value for name, value in search.items() if value is not None},
        "space": {name: value for name, value in named.items() if name not in several},
    }
    try:
        spec = checked_study(document, given=said)
    except ConfigurationError as error:
        mistakes = [_as_typed(mistake) for mistake in error.mistakes] + mistakes
    if mistakes:
        raise ConfigurationError(mistakes)
    fixed = Space.from_settings(spec.space).fixed
    strategy = Strategy.of({**start.model_dump(), **{name: fixed[name] for name in named}})
    values = strategy.model_dump()
    idle = tuple(
        f"{name} has no effect here: it has one where {DIMENSIONS[name].condition}"
        for name in named
        if not is_active(name, values)
    )
    return ByHand(spec, strategy, idle)


def _as_typed(mistake: str) -> str:
    """With the names of here, where a study file has others."""
    for theirs, ours in (("space.", ""), ("search.max_", ""), ("search.", "")):
        if mistake.startswith(theirs):
            return ours + mistake.removeprefix(theirs)
    return mistake
