"""Batches: which rows, in which order, and read ahead in the background."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from torch import Tensor

READ_AHEAD = 4


def epoch_order(indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """The rows in the order of a pass: a function of (seed, pass) only."""
    generator = np.random.default_rng(np.random.SeedSequence([seed, epoch]))
    return np.asarray(generator.permutation(indices))


def seen_in(
    indices: np.ndarray, seed: int, epoch: int, *, passes: int, images: int | None
) -> list[tuple[np.ndarray, int]]:
    """The rows that an epoch (from 1) sees, in order, with the number of the pass (from 1) that they are of.

    Args:
        indices: Of the training split.
        seed: Of their order.
        epoch: Which.
        passes: Over all of them, an epoch.
        images: An epoch, instead of whole passes: it goes on where the one before ended.
    """
    count = len(indices)
    begin, end = (epoch - 1) * passes * count, epoch * passes * count
    if images is not None:
        begin, end = (epoch - 1) * images, epoch * images
    found = []
    for number in range(begin // count, -(-end // count)):
        order = epoch_order(indices, seed, number + 1)
        found.append((order[max(0, begin - number * count) : end - number * count], number + 1))
    return found


def split_batches(order: np.ndarray, batch: int, smallest: int = 1) -> list[np.ndarray]:
    """Batches of `batch` rows; the incomplete last one is kept.

    No batch has fewer than `smallest` rows (2 where batch norm needs a variance), except where there
    are not more rows: what is too small joins the batch before it.
    """
    batch = max(batch, smallest)
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    if len(batches) > 1 and len(batches[-1]) < smallest:
        last = batches.pop()
        batches[-1] = np.concatenate([batches[-1], last])
    return batches


def split_micro(rows: np.ndarray, micro: int, smallest: int = 1) -> list[np.ndarray]:
    """One effective batch in nearly equal parts of about `micro` rows, none below `smallest`."""
    parts = -(-len(rows) // max(micro, 1))
    parts = max(1, min(parts, len(rows) // smallest))
    return list(np.array_split(rows, parts))


def read_ahead(read: Callable[[np.ndarray], Tensor], batches: Iterable[np.ndarray]) -> Iterator[Tensor]:
    """`read(rows)` for each batch, in order, a few batches ahead in a background thread.

    An error of `read` is raised at the batch it belongs to.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    pending: deque[Future[Tensor]] = deque()
    try:
        for rows in batches:
            pending.append(pool.submit(read, rows))
            if len(pending) > READ_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
