"""Channels that say nothing: the same value in every image, or a copy of another channel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding

NAMES = ("red", "green", "blue")


class ConstantChannels(Check):
    """By the sums of pixels that decoding kept."""

    name, title, cheap = "channels", "Channels without content", True

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """A finding for constant channels, and a note for gray images that are stored in colour."""
        moments = patient.details.cached.moments[patient.rows]
        if moments.shape[1] != 3:
            return
        pixels = patient.task.images.shape[1] * patient.task.images.shape[2]
        sums, squares = moments[:, :, 0], moments[:, :, 1]
        flat = (pixels * squares == sums**2).all(axis=0) & (sums == sums[:1]).all(axis=0)
        certain = "Certain: it holds for every image in a split."
        if flat.any():
            dead = " and ".join(name for name, is_flat in zip(NAMES, flat, strict=True) if is_flat)
            yield Finding(
                check=self.name, title=f"Constant channels: {dead}", weight="grave", reliability=certain,
                says=f"{dead.capitalize()} has one value in every pixel of every image: the files were "
                "probably written wrongly.",
                false_alarms=0.0,
            )  # fmt: skip
        elif bool(np.equal(moments, moments[:, :1]).all()):
            yield Finding(
                check=self.name, title="Gray images stored in colour", weight="note", reliability=certain,
                says="The three channels have the same sums in every image: channels = 1 takes a third of "
                "the memory.",
                false_alarms=0.0,
            )  # fmt: skip
