"""The devices that train one model together: what they share, and what they agree on.

After each step every member has the gradient of the whole step, or its own part of it, summed over all: a
member that ran out of memory, or met an error, says so in the same exchange, so that none waits for one that
will not come. (torch's DistributedDataParallel exchanges gradients while the backward pass runs: sooner, but
then the others hang where one fails in the middle.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import Tensor, nn

from automl_transfer.aborting import Aborted
from automl_transfer.training.batches import split_micro
from automl_transfer.transfer.prepare.base import Keep, Values

T = TypeVar("T")

OVER = -1
"""What the first member of a crew hands out instead of an epoch where a trial ends before its last one."""


class Over(Exception):  # noqa: N818  (no error)
    """The first member has ended the trial."""


class ElsewhereError(RuntimeError):
    """Another member met something within a step: `Crew.sync` says what."""


class Crew(Protocol):
    """One member's view of all members. Every method is called by all of them, in the same order.

    Attributes:
        rank: This member; 0 alone talks to the store.
        size: How many there are.
        shards: Whether each member is to keep a part of the weights that train, instead of all of them.
    """

    rank: int
    size: int
    shards: bool

    @property
    def lost(self) -> bool:
        """Whether another one's process is gone: then nothing can be trained together any more."""

    def share(self, rows: np.ndarray, least: int, at_once: int) -> list[np.ndarray]:
        """This member's part of the rows of a step, in parts of about `at_once` that go through the model.

        Shares are disjoint and make up the whole. Where there are not `least` rows for each, the first member
        takes all (or each of them takes all, and the sums of a step count each).
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

    def exchange(self, exchange: Callable[[], T]) -> T:
        """What an exchange over torch.distributed that takes all members gives.

        Raises:
            TrialDataError: One of them is gone.
        """

    def even_out(self, buffers: Sequence[Tensor], images: int) -> None:
        """After an epoch: statistics that each member kept of its own images become those of all."""

    def hand_out(self, value: Any) -> Any:
        """The value of rank 0, for all."""


class Alone:
    """One device: everything is its own, nothing is sent."""

    rank = 0
    size = 1
    shards = False
    lost = False

    def share(self, rows: np.ndarray, least: int, at_once: int) -> list[np.ndarray]:
        """All of them."""
        return split_micro(rows, at_once, least)

    def add(self, values: Sequence[float]) -> list[float]:
        """Its own."""
        return list(values)

    def sync(self, parameters: Sequence[nn.Parameter], loss: Tensor, trouble: str) -> str:
        """Nothing: its gradient is the whole one."""
        return trouble

    def agree(self, trouble: str) -> str:
        """Its own."""
        return trouble

    def exchange(self, exchange: Callable[[], T]) -> T:
        """With nobody."""
        return exchange()

    def even_out(self, buffers: Sequence[Tensor], images: int) -> None:
        """Nothing: there is one."""

    def hand_out(self, value: Any) -> Any:
        """Its own."""
        return value


ALONE: Crew = Alone()


class FirstPrepares:
    """A `Keep` from which all members have what rank 0 has there, or makes.

    Made on another device its last bits may differ, and gradients at other weights do not add up.
    """

    def __init__(self, crew: Crew, keep: Keep) -> None:
        self._crew, self._keep = crew, keep

    def get(
        self, key: Mapping[str, Any], shape: tuple[int, int], dtype: str, fill: Callable[[Values], None]
    ) -> Values:
        """See `Keep.get`.

        Raises:
            Over: Rank 0 could not make it.
        """
        if self._crew.rank > 0:
            told = self._crew.hand_out(None)
            if not isinstance(told, np.ndarray):
                raise Over
            return told
        values = self._keep.get(key, shape, dtype, fill)
        if values is None:
            values = np.empty(shape, dtype)
            fill(values)
        self._crew.hand_out(np.asarray(values))
        return values


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
    if trouble is None and said.startswith(Aborted.__name__):
        raise Aborted
    raise_together(trouble, said)
    assert found is not None
    return found


def words_of(trouble: Exception | None) -> str:
    """What other members are told."""
    return "" if trouble is None else f"{type(trouble).__name__}: {str(trouble)[:300]}"


def raise_together(trouble: Exception | None, said: str) -> None:
    """Raise what all members heard (`Crew.agree`): as it is where it is wrong here, else in words."""
    if trouble is not None and said == words_of(trouble):
        raise trouble
    if said:
        raise RuntimeError(f"{said}, on another device") from trouble
