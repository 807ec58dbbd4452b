"""The devices that train one model together: what they share, and what they agree on."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
from torch import nn

T = TypeVar("T")


class Crew(Protocol):
    """One member's view of all members. Every method is called by all of them, in the same order.

    Attributes:
        rank: This member; 0 alone talks to the store.
        size: How many there are.
    """

    rank: int
    size: int

    def share(self, rows: np.ndarray) -> np.ndarray:
        """This member's part of the rows of a step: the parts are disjoint and make up the whole."""

    def sync(self, model: nn.Module) -> None:
        """After a backward pass: every member has the gradient of the whole step."""

    def agree(self, flag: bool) -> bool:
        """Whether any member's flag is set: to abort, to stop, out of memory. All go on, or none does."""

    def hand_out(self, value: T) -> T:
        """The value of rank 0, for all."""


class Alone:
    """One device: everything is its own, nothing is sent."""

    rank = 0
    size = 1

    def share(self, rows: np.ndarray) -> np.ndarray:
        """All of them."""
        return rows

    def sync(self, model: nn.Module) -> None:
        """Nothing: its gradient is the whole one."""

    def agree(self, flag: bool) -> bool:
        """Its own."""
        return flag

    def hand_out(self, value: Any) -> Any:
        """Its own."""
        return value


ALONE: Crew = Alone()
