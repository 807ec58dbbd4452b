"""How pixels are normalised: the constants that are chosen, as they stand in recipes and model folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from automl_transfer.domain.strategy import Normalisation
from automl_transfer.domain.strict_json import Frozen
from automl_transfer.domain.task import Task

Constants = tuple[tuple[float, ...], tuple[float, ...]]


class FixedNormalisation(Frozen):
    """Mean and standard deviation per channel, of pixels in [0, 1]."""

    kind: Literal["fixed"] = "fixed"
    mean: tuple[float, ...] = Field(min_length=1, max_length=3)
    std: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(min_length=1, max_length=3)


class PerImageNormalisation(Frozen):
    """Every image is centred and scaled by its own mean and standard deviation."""

    kind: Literal["per_image"] = "per_image"


NormalisationFacts = Annotated[FixedNormalisation | PerImageNormalisation, Field(discriminator="kind")]


def facts(constants: Constants | None) -> FixedNormalisation | PerImageNormalisation:
    """What `chosen_constants` gave, as it stands in files."""
    if constants is None:
        return PerImageNormalisation()
    mean, std = constants
    return FixedNormalisation(mean=mean, std=std)


def constants(stated: FixedNormalisation | PerImageNormalisation) -> Constants | None:
    """The reverse of `facts`."""
    return (stated.mean, stated.std) if isinstance(stated, FixedNormalisation) else None


SMALLEST_STD = 1.0 / 255.0
"""One gray level: below it, dividing would only amplify rounding."""


def chosen_constants(
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
