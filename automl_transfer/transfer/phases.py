"""What trains, and when: a run is one phase or several, each with its own learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from automl_transfer.domain import methods
from automl_transfer.domain.strategy import Strategy, TuneMode
from automl_transfer.errors import ConfigurationError
from automl_transfer.transfer.select import Selection


@dataclass(frozen=True)
class Phase:
    """A part of a run.

    Attributes:
        name: For people.
        epochs: How long it takes; its schedule is laid out over them.
        tune_mode: What trains.
        frozen: Number of leading groups that do not, whatever the mode.
    """

    name: str
    epochs: int
    tune_mode: TuneMode
    frozen: int


Phases = Callable[[Strategy, Selection, int], tuple[Phase, ...]]
"""From a strategy, its layer groups and the horizon in epochs to phases that take just so many."""


def one(strategy: Strategy, selection: Selection, max_epochs: int) -> tuple[Phase, ...]:
    """What the strategy says, all the time."""
    return (Phase("all", max_epochs, strategy.tune_mode, selection.frozen),)


def phases_of(strategy: Strategy, selection: Selection, max_epochs: int) -> tuple[Phase, ...]:
    """The phases of a run.

    Raises:
        ConfigurationError: The method gives phases that cannot be.
    """
    method: Phases = methods.get("phases", strategy.phases)
    found = method(strategy, selection, max_epochs)
    whole = sum(phase.epochs for phase in found) == max_epochs and all(phase.epochs > 0 for phase in found)
    if not whole or any(not 0 <= phase.frozen <= selection.kept for phase in found):
        raise ConfigurationError(
            f"phases must have at least one epoch each, {max_epochs} together, and freeze 0 to "
            f"{selection.kept} groups, got {list(found)} of {strategy.phases!r}"
        )
    return tuple(found)
