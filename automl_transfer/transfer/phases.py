"""What trains, and when: a run is one phase or several, each with its own learning-rate schedule."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
        continues: Whether the schedule of the phase before goes on.
    """

    name: str
    epochs: int
    tune_mode: TuneMode
    frozen: int
    continues: bool = False


Phases = Callable[[Strategy, Selection, int], tuple[Phase, ...]]
"""From a strategy, its layer groups and the horizon in epochs to phases that take just so many."""


def one(strategy: Strategy, selection: Selection, max_epochs: int) -> tuple[Phase, ...]:
    """What the strategy says, all the time."""
    return (Phase("all", max_epochs, strategy.tune_mode, selection.frozen),)


HEAD_SHARE = 0.2
"""Of the epochs, for the head alone."""
WITHOUT_HEAD_FIRST = ("head", "body")
"""Tune modes in which nothing follows the head, or the head keeps its initial weights."""
STAGES = 4
"""At most so many phases of gradual unfreezing."""


def lp_ft(strategy: Strategy, selection: Selection, max_epochs: int) -> tuple[Phase, ...]:
    """The head first, then what the strategy says (Kumar et al. 2022, section 3.2).

    Fine-tuning under a fresh head distorts features before the head is any good.
    """
    whole = one(strategy, selection, max_epochs)
    first = max(1, round(HEAD_SHARE * max_epochs))
    if first >= max_epochs or strategy.tune_mode in WITHOUT_HEAD_FIRST:
        return whole
    return (Phase("head", first, "head", selection.kept), replace(whole[0], epochs=max_epochs - first))


def gradual(strategy: Strategy, selection: Selection, max_epochs: int) -> tuple[Phase, ...]:
    """The head first, then groups from the top down, in equal parts (ULMFiT, Howard & Ruder 2018, 3.3)."""
    (whole,) = one(strategy, selection, max_epochs)
    stages = min(STAGES, max_epochs)
    if stages < 2 or strategy.tune_mode in WITHOUT_HEAD_FIRST or whole.frozen >= selection.kept:
        return (whole,)
    edges = [round(stage * max_epochs / stages) for stage in range(stages + 1)]
    moving = selection.kept - whole.frozen
    phases = [Phase("head", edges[1], "head", selection.kept)]
    for stage in range(1, stages):
        frozen = selection.kept - round(stage * moving / (stages - 1))
        name = "all" if stage == stages - 1 else f"from group {frozen + 1}"
        phases.append(replace(whole, name=name, epochs=edges[stage + 1] - edges[stage], frozen=frozen))
    return tuple(phases)


def freezing(strategy: Strategy, selection: Selection, max_epochs: int) -> tuple[Phase, ...]:
    """All that trains at first, then less and less, from the bottom up, under one schedule of rates.

    Later epochs are cheaper, and what is frozen is kept (FreezeOut, Brock et al. 2017, section 3). Where a
    part freezes, the optimiser's moments begin anew.
    """
    (whole,) = one(strategy, selection, max_epochs)
    moving = selection.kept - whole.frozen
    stages = min(STAGES, max_epochs, moving)
    if stages < 2 or strategy.tune_mode in WITHOUT_HEAD_FIRST:
        return (whole,)
    edges = [round(stage * max_epochs / stages) for stage in range(stages + 1)]
    phases = []
    for stage in range(stages):
        frozen = whole.frozen + stage * moving // stages
        name = f"from group {frozen + 1}" if stage else "all"
        epochs = edges[stage + 1] - edges[stage]
        phases.append(replace(whole, name=name, epochs=epochs, frozen=frozen, continues=stage > 0))
    return tuple(phases)


def phases_of(strategy: Strategy, selection: Selection, max_epochs: int) -> tuple[Phase, ...]:
    """The phases of a run.

    Raises:
        ConfigurationError: The method gives phases that cannot be.
    """
    method: Phases = methods.get("phases", strategy.phases)
    found = method(strategy, selection, max_epochs)
    whole = sum(phase.epochs for phase in found) == max_epochs and all(phase.epochs > 0 for phase in found)
    if not whole or found[0].continues or any(not 0 <= phase.frozen <= selection.kept for phase in found):
        raise ConfigurationError(
            f"phases must have at least one epoch each, {max_epochs} together, and freeze 0 to "
            f"{selection.kept} groups, got {list(found)} of {strategy.phases!r}"
        )
    return tuple(found)


def phase_at(phases: Sequence[Phase], epoch: int) -> int:
    """The place of the phase that an epoch (from 1) belongs to."""
    ends = itertools.accumulate(phase.epochs for phase in phases)
    return next(place for place, end in enumerate(ends) if epoch <= end)


def schedule_of(phases: Sequence[Phase], place: int) -> tuple[int, int]:
    """First epoch (from 1) and length in epochs of the schedule that a phase trains under.

    It runs from the last phase that begins one to the next such phase.
    """
    begin = max(n for n in range(place + 1) if not phases[n].continues)
    end = next((n for n in range(place + 1, len(phases)) if not phases[n].continues), None)
    return 1 + sum(each.epochs for each in phases[:begin]), sum(each.epochs for each in phases[begin:end])
