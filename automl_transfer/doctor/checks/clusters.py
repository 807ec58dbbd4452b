"""Activation clustering (Chen et al. 2018): a poisoned class falls into two clusters, one of them small."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from automl_transfer.doctor.screens import Array, Screen, two_parts

DIRECTIONS = 10
MOST_COMPARED = 1000


class ActivationClusters(Screen):
    """Two clusters in each class's first ten principal directions; the small one, where both are tight."""

    name, title = "clusters", "Backdoors, by activation clustering"
    least = 0.35
    score_means = "silhouette: images by their own"
    reliability = (
        "A screen, not a proof: what is said of spectral signatures holds here, too. A class that is really "
        "of two kinds of images, a small and a large one, looks the same."
    )

    def part(self, x: Array) -> tuple[npt.NDArray[np.bool_], Array, float]:
        """The smaller cluster, each image's silhouette, and the mean of both clusters' means."""
        x = x @ np.linalg.eigh(x.T @ x)[1][:, -DIRECTIONS:]
        part = two_parts(x)
        if not part.any():
            return part, np.zeros(len(x)), 0.0
        return part, *silhouette(x, part)


def silhouette(values: Array, part: npt.NDArray[np.bool_]) -> tuple[Array, float]:
    """Rousseeuw's silhouette (1987) of each of n points in two parts, and the mean of both parts' means.

    Distances are to at most so many points of each part, evenly spread.
    """
    sides = []
    for side in (part, ~part):
        others = np.flatnonzero(side)
        others = others[np.linspace(0, len(others) - 1, min(len(others), MOST_COMPARED)).astype(np.int64)]
        squares = np.square(values).sum(axis=1)[:, None] + np.square(values[others]).sum(axis=1)
        distance = np.sqrt(np.maximum(squares - 2.0 * values @ values[others].T, 0.0))
        count = len(others) - np.isin(np.arange(len(values)), others)
        sides.append(distance.sum(axis=1) / np.maximum(count, 1))
    own, other = np.where(part, sides[0], sides[1]), np.where(part, sides[1], sides[0])
    each = (other - own) / np.maximum(np.maximum(own, other), 1e-12)
    return each, float((each[part].mean() + each[~part].mean()) / 2)
