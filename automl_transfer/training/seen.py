"""Which training images a run sees, when, and as what view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from automl_transfer.training.batches import epoch_order
from automl_transfer.transfer.drawn import Drawn
from automl_transfer.transfer.views import Views


@dataclass(frozen=True)
class Seen:
    """The order of a whole run: a function of the seed, pass by pass, wherever epochs begin and end.

    Attributes:
        images: As passes over them see them.
        rows: Of the training split.
        seed: Of their order.
        epochs: All that there are.
        passes: Over all rows, an epoch.
        steps: An epoch, instead of whole passes: it goes on where the one before ended.
    """

    images: Views | Drawn
    rows: np.ndarray
    seed: int
    epochs: int
    passes: int = 1
    steps: int | None = None

    def in_epoch(self, epoch: int, batch: int) -> list[np.ndarray]:
        """The numbers that an epoch (from 1) sees; what stands together is cut into steps of `batch`."""
        count = len(self.rows)
        each = self.passes * count if self.steps is None else self.steps * batch
        begin, end = (epoch - 1) * each, epoch * each
        found = []
        for number in range(begin // count, -(-end // count)):
            order = epoch_order(self.rows, self.seed, number + 1)
            part = order[max(0, begin - number * count) : end - number * count]
            found.append(self.images.numbers(part, [self.images.view_of(number + 1)]))
        return found if self.steps is None else [np.concatenate(found)]

    def asked_for(self, validation: np.ndarray, batch: int) -> tuple[np.ndarray, float]:
        """All numbers of fixed views, and those rows, that the run needs; how often each on average."""
        assert isinstance(self.images, Views)
        whole = self.epochs * (self.passes * len(self.rows) if self.steps is None else self.steps * batch)
        views = range(min(self.images.count, -(-whole // len(self.rows))))
        found = np.concatenate([validation, self.images.numbers(self.rows, views)])
        return found, (self.epochs * len(validation) + whole) / len(found)

    def facts(self) -> dict[str, Any]:
        """What is not the usual."""
        named = {"passes": None if self.passes == 1 else self.passes, "steps": self.steps}
        return {name: value for name, value in named.items() if value is not None}
