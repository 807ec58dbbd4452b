"""The devices that train one model together: what they share, and what they agree on.

After each step every member has the gradient of the whole step, summed once it is complete: a member that ran
out of memory, or met an error, says so in the same exchange, so that none waits for one that will not come.
(torch's DistributedDataParallel exchanges gradients while the backward pass runs: sooner, but then the others
hang where one fails in the middle.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import Tensor, nn

from automl_transfer.aborting import Aborted

OVER = -1
"""What the first member of a crew hands out instead of an epoch where a trial ends before its last one."""

T = TypeVar("T")


class Over(Exception):  # noqa: N818  (no error)
    """The first member has ended the trial."""


class Crew(Protocol):
    """One member's view of all members. Every method is called by all of them, in the same order.

    Attributes:
        rank: This member; 0 alone talks to the store.
        size: How many there are.
        lost: Whether another one's process is gone: then nothing can be trained together any more.
    """

    rank: int
    size: int
    lost: bool

    def share(self, rows: np.ndarray, least: int) -> np.ndarray:
        """This member's part of the rows of a step: the parts are disjoint and make up the whole.

        Where there are not `least` rows for each, the first one takes all.
        """

    def add(self, values: Sequence[float]) -> list[float]:
        """The sums over all members."""

    def sync(self, parameters: Sequence[nn.Parameter], loss: Tensor, trouble: str) -> str:
        """After a backward pass: every member has the gradient and the loss of the whole step, in place.

        Returns:
            What is wrong with the first member that is in trouble; empty where none is. Then gradients are
            of no use, on any.
        """

    def agree(self, trouble: str) -> str:
        """What is wrong with the first member that is in trouble; empty where all go on."""

    def even_out(self, buffers: Sequence[Tensor], images: int) -> None:
        """After an epoch: statistics that each member kept of its own images become those of all."""

    def hand_out(self, value: Any) -> Any:
        """The value of rank 0, for all."""


class Alone:
    """One device: everything is its own, nothing is sent."""

    rank = 0
    size = 1
    lost = False

    def share(self, rows: np.ndarray, least: int) -> np.ndarray:
        """All of them."""
        return rows

    def add(self, values: Sequence[float]) -> list[float]:
        """Its own."""
        return list(values)

    def sync(self, parameters: Sequence[nn.Parameter], loss: Tensor, trouble: str) -> str:
        """Nothing: its gradient is the whole one."""
        return trouble

    def agree(self, trouble: str) -> str:
        """Its own."""
        return trouble

    def even_out(self, buffers: Sequence[Tensor], images: int) -> None:
        """Nothing: there is one."""

    def hand_out(self, value: Any) -> Any:
        """Its own."""
        return value


ALONE: Crew = Alone()


def agreed(crew: Crew, make: Callable[[], T]) -> T:
    """What `make` gives, where it gives something on all members; else each raises what ended it.

    Raises:
        Aborted: One of them was asked to stop.
        RuntimeError: Another member is in trouble; says which.
    """
    if crew.size == 1:
        return make()
    trouble: Exception | None = None
    found: T | None = None
    try:
        found = make()
    except Exception as error:  # whatever it is, the others have to know
        trouble = error
    said = crew.agree(words_of(trouble))
    if trouble is not None:
        raise trouble
    if said.startswith(Aborted.__name__):
        raise Aborted
    if said or found is None:
        raise RuntimeError(f"{said}, on another device")
    return found


def words_of(trouble: Exception | None) -> str:
    """What other members are told."""
    return "" if trouble is None else f"{type(trouble).__name__}: {str(trouble)[:300]}"
