"""Images with nothing on them: one colour only, or hardly more."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import Rows
from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding

LEAST = 2.0
"""Standard deviation of an image's pixels, of 255, below which a person sees nothing on it."""


def contrast(moments: Rows, pixels: int) -> npt.NDArray[np.float64]:
    """(N,) the largest standard deviation of an image's channels, of 255, from sums and sums of squares."""
    sums, squares = moments[:, :, 0].astype(np.float64), moments[:, :, 1].astype(np.float64)
    variance = np.maximum(squares / pixels - (sums / pixels) ** 2, 0.0)
    return np.asarray(np.sqrt(variance).max(axis=1))


class BlankImages(Check):
    """By the standard deviation of their pixels, which decoding counted."""

    name, title, cheap = "blank", "Blank images", True

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """One finding with every blank image."""
        cached = patient.details.cached
        found = contrast(cached.moments[patient.rows], cached.images.shape[1] * cached.images.shape[2])
        rows = patient.rows[found < LEAST]
        if not len(rows):
            return
        suspects = [
            patient.suspect(
                row,
                what="one colour" if cached.blank[row] else "hardly any contrast",
                score=1.0 - value / 255.0,
                leave_out_of="training",
            )
            for row, value in sorted(zip(rows, found[found < LEAST], strict=True), key=lambda each: each[1])
        ]
        yield Finding(
            check=self.name,
            title=self.title,
            weight="look",
            says=f"Their pixels vary by less than {LEAST:g} of 255: there is nothing to learn from them "
            "(transparency becomes white).",
            images=len(rows),
            score_means="1 - standard deviation of the pixels / 255",
            reliability="Certain as far as pixels go; whether a blank image belongs to its class is for you "
            "to say.",
            false_alarms=0.0,
            suspects=tuple(suspects),
        )
