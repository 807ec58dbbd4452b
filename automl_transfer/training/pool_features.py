"""Features of the training and validation images together, computed once for all their splits.

A head on a source that is left as it is can be solved again on a fresh split without another pass.
"""

from __future__ import annotations

import numpy as np
import torch

from automl_transfer.data.folds import pool_of
from automl_transfer.data.task import LoadedTask
from automl_transfer.training.activation_cache import ActivationCache, Values
from automl_transfer.training.inputs import activation_key
from automl_transfer.transfer.head_input import HeadInput, Reader


class PoolFeatures:
    """Knows what heads read of every image that a fresh split may train on.

    Args:
        task: The study's task, as it is split there.
        cache: Where features are kept; one that has no room for them serves nothing.
    """

    def __init__(self, task: LoadedTask, cache: ActivationCache) -> None:
        self._task = task
        self._cache = cache
        self._rows = pool_of(task)

    def features(self, asked: HeadInput) -> Reader | None:
        """Reads features of rows of the pool, all of which are computed the first time."""
        model, images, pool = asked.model, asked.images, self._rows
        head, width = model.head, model.head.linear.in_features
        numbers = images.numbers(pool)
        key = activation_key(
            model,
            self._task,
            asked.normalise,
            len(model.groups),
            numbers,
            reads=[[head.taps, head.grid]],
            scale=model.resolution_scale,
            augment=images.augment,
        )

        def fill(values: Values) -> None:
            asked.compute(pool, values)

        values = self._cache.get(key, (len(numbers), width), "float32", fill)
        if values is None:
            return None
        by_image = values.reshape(len(pool), -1)
        return lambda rows: torch.from_numpy(by_image[np.searchsorted(pool, rows)].reshape(-1, width))
