"""How alike two tasks are, by their signatures; and how much earlier tasks count for a new one.

What is known before anything is trained: how many images and classes, how large, what colours, and how well a
solved head does at each cut of a source. (Arango et al. 2024, Quick-Tune, use the first of these.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from automl_transfer.domain.signature import TaskSignature

TEMPERATURE = 0.5
"""Distance at which an earlier task counts 1 / e."""
IMAGES, CLASSES, PIXELS = 4.0, 2.0, 2.0
"""Doublings that count as one apart."""
ENTROPY, COLOUR, SPREAD, PROFILE = 0.5, 0.25, 0.1, 0.2
"""Differences that do: of the classes' entropy, of mean and deviation of pixels, of accuracies by cut."""


def distance(one: TaskSignature, other: TaskSignature) -> float:
    """Root mean square of how far apart two tasks are in each of these; 0 for the same task, symmetric."""
    apart = [
        math.log2(one.images / other.images) / IMAGES,
        math.log2(one.classes / other.classes) / CLASSES,
        math.log2(one.resolution / other.resolution) / PIXELS,
        (one.entropy - other.entropy) / ENTROPY,
        float(one.channels != other.channels),
        (_mean(one.channel_mean) - _mean(other.channel_mean)) / COLOUR,
        (_mean(one.channel_std) - _mean(other.channel_std)) / SPREAD,
    ]
    differences = [
        abs(accuracy - other.profile[source][cut])
        for source, cuts in one.profile.items()
        if source in other.profile
        for cut, accuracy in cuts.items()
        if cut in other.profile[source]
    ]
    if differences:
        apart.append(_mean(differences) / PROFILE)
    return math.sqrt(_mean([each * each for each in apart]))


def weights_of(mine: TaskSignature | None, others: Sequence[TaskSignature | None]) -> list[float]:
    """How much each earlier task counts: exp(-distance / temperature); without a signature, as the mean."""
    if mine is None:
        return [1.0] * len(others)
    known = [None if each is None else math.exp(-distance(mine, each) / TEMPERATURE) for each in others]
    weights = [each for each in known if each is not None]
    usual = _mean(weights) if weights else 1.0
    return [usual if each is None else each for each in known]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
