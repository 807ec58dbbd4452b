"""Normalisation constants: which mean and deviation are taken from the pixels (data centring)."""

from __future__ import annotations

from collections.abc import Sequence

from automl_transfer.domain.strategy import Normalisation
from automl_transfer.domain.task import Task

SMALLEST_STD = 1.0 / 255.0
"""One gray level: below it, dividing would only amplify rounding."""

Constants = tuple[tuple[float, ...], tuple[float, ...]]


def constants(
    kind: Normalisation, task: Task, source_mean: Sequence[float], source_std: Sequence[float]
) -> Constants | None:
    """Mean and standard deviation per channel of `task`, in units of [0, 1] pixels.

    "source" takes the source's own constants (averaged over RGB where the task is gray, repeated where
    a gray source meets an RGB task), "dataset" those of the training split. "per_image" gives None:
    each image is centred and scaled by its own statistics.
    """
    if kind == "per_image":
        return None
    if kind == "dataset":
        mean, std = task.channel_mean, task.channel_std
    else:
        mean, std = _fit(source_mean, task.channels), _fit(source_std, task.channels)
    return tuple(mean), tuple(max(value, SMALLEST_STD) for value in std)


def _fit(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(float(value) for value in values)
    return (float(sum(values)) / len(values),) * channels
