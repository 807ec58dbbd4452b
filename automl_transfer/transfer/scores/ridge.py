"""Accuracy of a ridge head by leave-one-out: what the profile judges cuts by (`transfer.ridge`)."""

from __future__ import annotations

from automl_transfer.transfer.ridge import Ridge
from automl_transfer.transfer.scores.base import Seen


def ridge(seen: Seen) -> float:
    """A share in [0, 1] of the images, each as it counts, that the head solved without it is right on."""
    if seen.solved is not None:
        return seen.solved
    return Ridge(seen.features, seen.labels, seen.classes, seen.counts).best().accuracy
