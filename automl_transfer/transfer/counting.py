"""What each image counts in closed form, and which images are left out together where one is.

An image counts by its weight. Where the task's metric counts every class the same, so do solved heads: an
image counts N / (C n_c) times as much (King and Zeng 2001 weigh a likelihood so), and leave-one-out is judged
by that, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from automl_transfer.data.base import Rows
from automl_transfer.data.task import LoadedTask
from automl_transfer.data.weights import balanced
from automl_transfer.domain.measured import BALANCED


@dataclass(frozen=True)
class Counting:
    """Of n images.

    Attributes:
        weights: float64 (n,), above 0; None where all count once.
        blocks: int64 (n,), the same number for those that are left out together; None where each is alone.
    """

    weights: Tensor | None = None
    blocks: Tensor | None = None

    def at(self, places: np.ndarray) -> Counting:
        """Of the images at some places."""
        where = torch.from_numpy(places)
        return Counting(*(None if each is None else each[where] for each in (self.weights, self.blocks)))

    def order(self, drawn: np.ndarray) -> np.ndarray:
        """The images in a drawn order, but those that are left out together side by side."""
        if self.blocks is None:
            return drawn
        first = np.full(int(self.blocks.max()) + 1, len(drawn), np.int64)
        blocks = self.blocks.numpy()[drawn]
        np.minimum.at(first, blocks, np.arange(len(drawn)))
        return np.asarray(drawn[np.argsort(first[blocks], kind="stable")])

    def of_views(self, views: int) -> Tensor | None:
        """The weights of (n x views,) rows, an image's views side by side."""
        return None if self.weights is None else self.weights.repeat_interleave(views)

    def total(self, rows: int) -> float:
        """What so many images count together: these."""
        return float(rows) if self.weights is None else float(self.weights.sum())

    def left_out(self, images: int, most: int) -> Iterator[Tensor]:
        """(b, m) numbers of b blocks of m images each, until all had their turn; about `most` at a time."""
        if self.blocks is None:
            yield from torch.split(torch.arange(images)[:, None], most)
            return
        order = torch.argsort(self.blocks, stable=True)
        _, sizes = torch.unique_consecutive(self.blocks[order], return_counts=True)
        starts = sizes.cumsum(0) - sizes
        for size in torch.unique(sizes).tolist():
            found = order[starts[sizes == size][:, None] + torch.arange(size)]
            yield from torch.split(found, max(1, most // size))


ALIKE = Counting()
"""All images count once, and each is left out alone."""


def counting(task: LoadedTask, rows: Rows) -> Counting:
    """What these training rows of a task count."""
    weights = None if task.weights is None else task.weights[rows]
    labels = task.labels[rows]
    if task.task.metric in BALANCED:
        each = balanced(labels, len(task.task.classes), weights)[labels]
        weights = each if weights is None else weights * each
    blocks = None
    if task.together is not None:
        twins = np.arange(len(rows)) if task.twins is None else task.twins[rows]
        blocks = _blocks(task.together[rows], labels, twins)
    return Counting(
        None if weights is None else torch.from_numpy(weights),
        None if blocks is None else torch.from_numpy(blocks),
    )


def _blocks(together: Rows, labels: Rows, twins: Rows) -> Rows | None:
    """Numbers of what is left out together; None where that is single images.

    Where all images of a class are of one group, leaving that out would leave nothing to know the class by:
    they are left out one by one, with their duplicates.
    """
    number = np.unique(together, return_inverse=True)[1].reshape(-1).astype(np.int64)
    low = np.full(labels.max() + 1, len(labels), np.int64)
    high = np.full(labels.max() + 1, -1, np.int64)
    np.minimum.at(low, labels, number)
    np.maximum.at(high, labels, number)
    lone = (low == high)[labels]
    number[lone] = number.max() + 1 + twins[lone]
    return None if len(np.unique(number)) == len(number) else number
