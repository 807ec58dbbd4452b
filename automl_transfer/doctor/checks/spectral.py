"""Spectral signatures (Tran, Li and Madry 2018): poisoned images stand apart in one direction of a class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from automl_transfer.doctor.screens import Array, Screen, two_parts

HALVES = 2.65
"""The gap between the two halves of a normal distribution, in standard deviations of a half."""


class SpectralSignatures(Screen):
    """Along the first principal direction of each class, a small part that is clearly apart."""

    name, title = "spectral", "Backdoors, by spectral signatures"
    least = 2.35
    score_means = "gap beyond chance: images by their squared place along the direction over its mean"
    reliability = (
        "A screen, not a proof. The paper reads features of a network that was trained on the poison; these "
        "are the source's, which never saw it, and a trigger shows only where it changes them much: none of "
        "those that were put in was found so (docs: Robustness). A class of two kinds of images is listed as "
        "well."
    )

    def part(self, x: Array) -> tuple[npt.NDArray[np.bool_], Array, float]:
        """A part, the outlier scores of the paper, and the parts' gap beyond that of a halved normal."""
        place = x @ np.linalg.eigh(x.T @ x)[1][:, -1]
        part = two_parts(place[:, None])
        scores = np.square(place) / max(float(np.square(place).mean()), 1e-12)
        if not part.any():
            return part, scores, 0.0
        inside, outside = place[part], place[~part]
        spread = np.sqrt((inside.var() * len(inside) + outside.var() * len(outside)) / len(place))
        gap = float(abs(inside.mean() - outside.mean()) / max(float(spread), 1e-12))
        return part, scores, max(0.0, gap - HALVES)
