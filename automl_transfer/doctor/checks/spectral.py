"""Spectral signatures (Tran, Li and Madry 2018): poisoned images stand apart in one direction of a class."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding
from automl_transfer.doctor.screens import Array, screened, two_parts

HALVES = 2.65
"""The gap between the two halves of a normal distribution, in standard deviations of a half."""
LEAST_GAP = 2.35
"""Beyond that."""
RELIABILITY = (
    "A screen, not a proof. The paper reads features of a network that was trained on the poison; these are "
    "the source's, which never saw it, and a trigger shows only where it changes them much: none of those "
    "that were put in was found so (docs: Robustness). A class of two kinds of images is listed as well."
)


class SpectralSignatures(Check):
    """Along the first principal direction of each class, a small part that is clearly apart."""

    name, title = "spectral", "Backdoors, by spectral signatures"

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """A finding for each class with such a part, or a note where most have one."""
        meaning = "gap beyond chance: images by their squared place along the direction over its mean"
        return screened(patient, self.name, signature, LEAST_GAP, meaning, RELIABILITY)


def signature(x: Array) -> tuple[npt.NDArray[np.bool_], Array, float]:
    """The part of centred (n, D) features, the outlier scores of the paper, and the parts' gap."""
    place = x @ np.linalg.eigh(x.T @ x)[1][:, -1]
    part = two_parts(place[:, None])
    scores = np.square(place) / max(float(np.square(place).mean()), 1e-12)
    if not part.any():
        return part, scores, 0.0
    inside, outside = place[part], place[~part]
    spread = np.sqrt((inside.var() * len(inside) + outside.var() * len(outside)) / len(place))
    gap = float(abs(inside.mean() - outside.mean()) / max(float(spread), 1e-12))
    return part, scores, max(0.0, gap - HALVES)
