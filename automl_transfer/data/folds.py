"""Fresh splits of training + validation data, for judging a strategy again on other images."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from automl_transfer.data.base import Rows
from automl_transfer.data.task import LoadedTask


def resplit_rows(task: LoadedTask) -> Rows:
    """Sorted rows of the training and validation splits together. The test split stays out."""
    return np.sort(np.concatenate([task.indices["train"], task.indices["validation"]]))


def _judged(task: LoadedTask) -> Rows:
    """The rows among them that may be validated on."""
    return np.setdiff1d(resplit_rows(task), task.training_only)


def blocks_of(task: LoadedTask) -> int:
    """Into how many blocks these rows are cut, so that a block is about as large as the validation split.

    Never into more than there are groups, for a group stays whole.
    """
    rows = _judged(task)
    blocks = max(2, round(len(rows) / max(1, len(task.indices["validation"]))))
    if task.groups is not None:
        blocks = min(blocks, len({task.groups[row] for row in rows}))
    return blocks


def fresh_split(task: LoadedTask, run: int, seed: int) -> LoadedTask:
    """The task with another split: run r is validated on one block of its rows, and trained on the rest.

    The rows of both splits are cut at random into `blocks_of` blocks, stratified by class; the next cut,
    at random again, comes when every block was used once. So the first runs are judged on different images.
    Images of one group stay in one block; those of rare classes that are kept to train on are trained on
    in every run, unless their group is validated on. The test split is the same, and unused.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    rows, count = _judged(task), blocks_of(task)
    cut, block = divmod(run, count)
    state = (seed * 1_000_003 + 7919 * (cut + 1)) % 2**31
    labels = task.labels[rows]
    with warnings.catch_warnings():  # a class with fewer images than blocks is missing in some of them
        warnings.simplefilter("ignore")
        if task.groups is None:
            split = StratifiedKFold(count, shuffle=True, random_state=state).split(rows, labels)
        else:
            groups = np.array([task.groups[row] for row in rows])
            split = StratifiedGroupKFold(count, shuffle=True, random_state=state).split(rows, labels, groups)
        train, validation = list(split)[block]
    only = task.training_only
    if task.groups is not None:
        judged = {task.groups[row] for row in rows[validation]}
        only = np.array([row for row in only if task.groups[row] not in judged], np.int64)
    trained = np.sort(np.concatenate([rows[train], only]))
    return dataclasses.replace(
        task, indices={**task.indices, "train": trained, "validation": rows[validation]}
    )
