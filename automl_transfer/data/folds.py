"""Fresh splits of training + validation data, for judging a strategy again on other images."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from automl_transfer.data.base import Rows
from automl_transfer.data.task import LoadedTask
from automl_transfer.data.together import leaders_of


def resplit_rows(task: LoadedTask) -> Rows:
    """Sorted rows of the training and validation splits together. The test split stays out."""
    return np.sort(np.concatenate([task.indices["train"], task.indices["validation"]]))


def _judged(task: LoadedTask) -> Rows:
    """The rows among them that may be validated on."""
    return np.setdiff1d(resplit_rows(task), task.training_only)


def blocks_of(task: LoadedTask) -> int:
    """Into how many blocks these rows are cut, so that a block is about as large as the validation split.

    Never into more than there are images that do not belong together, for those that do stay on one side.
    """
    rows = _judged(task)
    blocks = max(2, round(len(rows) / max(1, len(task.indices["validation"]))))
    if task.together is None:
        return blocks
    first, _ = leaders_of(rows, task.together)
    most = len(first) if task.groups is not None else np.bincount(task.labels[first]).max()
    return min(blocks, max(2, int(most)))


def fresh_split(task: LoadedTask, run: int, seed: int) -> LoadedTask:
    """The task with another split: run r is validated on one block of its rows, and trained on the rest.

    The rows of both splits are cut at random into `blocks_of` blocks, stratified by class; the next cut,
    at random again, comes when every block was used once. So the first runs are judged on different images.
    Images that belong together (of one group, or with the same pixels) stay in one block; those of rare
    classes that are kept to train on are trained on in every run, unless one that they belong to is validated
    on. The test split is the same, and unused.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    rows, count = _judged(task), blocks_of(task)
    cut, block = divmod(run, count)
    state = (seed * 1_000_003 + 7919 * (cut + 1)) % 2**31
    with warnings.catch_warnings():  # a class with fewer images than blocks is missing in some of them
        warnings.simplefilter("ignore")
        if task.groups is None:
            first, place = leaders_of(rows, task.together)
            cuts = list(
                StratifiedKFold(count, shuffle=True, random_state=state).split(first, task.labels[first])
            )
            train, validation = (np.flatnonzero(np.isin(place, part)) for part in cuts[block])
        else:
            assert task.together is not None
            cuts = list(
                StratifiedGroupKFold(count, shuffle=True, random_state=state).split(
                    rows, task.labels[rows], task.together[rows]
                )
            )
            train, validation = cuts[block]
    only = np.intersect1d(task.training_only, task.indices["train"])  # a smaller task has not all of them
    if task.together is not None:
        only = only[~np.isin(task.together[only], task.together[rows[validation]])]
    trained = task.to_train(np.sort(np.concatenate([rows[train], only])))
    return dataclasses.replace(
        task, indices={**task.indices, "train": trained, "validation": rows[validation]}
    )
