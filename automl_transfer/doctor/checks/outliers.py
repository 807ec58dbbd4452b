"""Outliers: images far from all others among the source's features."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import norm

from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding

LEAST = 20
RELIABILITY = (
    "A rank, not a proof: distances of sound images have heavier tails than assumed, and rare but good "
    "images are "
    "far from others, too. Nothing is suggested to be left out for it."
)


class Outliers(Check):
    """By the distance to the tenth nearest neighbour (Ramaswamy et al. 2000), its logarithm as a robust z."""

    name, title = "outliers", "Outliers"

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """The images farther than all but one of a normal distribution would be."""
        rows = patient.leaders
        if len(rows) < LEAST:
            return
        far = np.log(np.maximum(patient.beside.distances[:, -1].astype(np.float64), 1e-12))
        middle = float(np.median(far))
        spread = 1.4826 * float(np.median(np.abs(far - middle)))
        if spread <= 0.0:
            return
        z = (far - middle) / spread
        listed = np.flatnonzero(z > norm.isf(1.0 / len(rows)))
        if not len(listed):
            return
        yield Finding(
            check=self.name,
            title=self.title,
            weight="note",
            says="They are unlike all other images: of another kind, damaged, or rare.",
            images=len(listed),
            score_means="robust z of the log distance to the tenth nearest image",
            reliability=RELIABILITY,
            false_alarms=1.0,
            suspects=tuple(
                patient.suspect(int(rows[at]), what="far from all others", score=float(z[at]))
                for at in listed[np.argsort(-z[listed], kind="stable")]
            ),
        )
