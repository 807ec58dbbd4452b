"""Near copies: the same picture saved again, cut, brightened or turned a little.

Two views of each image are compared with all others: its gray pixels at 16x16 without brightness and
contrast, which survive strong compression and light, and the source's features, which survive cuts and
turns. A pair is listed where it is nearer, beside the neighbours around it, than chance allows
(`doctor.neighbours`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import Pixels, Rows
from automl_transfer.data.together import gathered
from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.checks.copies import leak
from automl_transfer.doctor.findings import Finding
from automl_transfer.doctor.neighbours import neighbours_of, reduced

EXPECTED = 0.5
"""Images that each view may list by chance."""
GRID = 16
LEAST = 20
RELIABILITY = (
    "By chance about one image is expected to be listed, where images lie evenly; series of one thing are "
    "listed, and rightly so. Measured on photographs of clothes: all copies saved at JPEG quality 10 or "
    "better, made darker or brighter by 30%, cut to 95% or turned by 2 degrees are found, a third of those "
    "cut to 80% or turned by 10 degrees; where all images are much alike, fewer (docs: Robustness)."
)


class NearCopies(Check):
    """By nearest neighbours among pixels and among features."""

    name, title = "near", "Near copies"

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """Near copies across splits, and a note on those within one."""
        rows = patient.leaders
        if len(rows) < LEAST:
            return
        chance, groups = alike(patient, rows)
        scores = {int(row): float(1.0 - value) for row, value in zip(rows, chance, strict=True)}
        across = patient.across(groups)
        if across:
            yield leak(
                patient, self.name, "Near copies across splits", across, RELIABILITY,
                "are nearly the same", 2 * EXPECTED, scores,
            )  # fmt: skip
        task = patient.task
        # More than a leak: some of them are in one split.
        within = [g for g in groups if len(patient.copies(g)) < len(g) - 1]
        images = sum(len(g) for g in within)
        if images:
            order = sorted(within, key=lambda g: (len(set(task.labels[g].tolist())) == 1, -scores[g[0]]))
            yield Finding(
                check=self.name,
                title="Near copies",
                weight="note",
                says="Series of one thing: they belong on one side of every split. A table of groups "
                "(--group-from groups.csv) keeps them there.",
                images=images,
                score_means="1 - chance that two different images are as alike",
                reliability=RELIABILITY,
                false_alarms=2 * EXPECTED,
                suspects=tuple(
                    patient.suspect(
                        row,
                        what="nearly the same"
                        if task.labels[row] == task.labels[g[0]]
                        else "under another label",
                        twin=task.keys[g[0]],
                        score=scores[row],
                    )
                    for g in order
                    for row in g[1:]
                ),
            )


def alike(patient: Patient, rows: Rows) -> tuple[npt.NDArray[np.float64], list[list[int]]]:
    """(n,) how likely each image's nearest is so near by chance, and the groups that are no chance."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    views = (neighbours_of(reduced(thumbnails(patient.task.images, rows))), patient.beside)
    n = len(rows)
    least = np.ones(n)
    pairs: list[npt.NDArray[np.int64]] = []
    for found in views:
        chance = found.chance()
        near = np.flatnonzero(chance * n < EXPECTED)
        pairs.append(np.stack([near, found.places[near, 0]], axis=1))
        least = np.minimum(least, chance)
    edges = np.concatenate(pairs)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, part = connected_components(graph, directed=False)
    for first, second in edges:
        least[second] = min(least[second], least[first])
    return least, gathered(rows, part)


def thumbnails(images: Pixels, rows: Rows) -> npt.NDArray[np.float32]:
    """float32 (n, GRID^2): gray, small, without brightness and contrast."""
    found = np.empty((len(rows), GRID * GRID), np.float32)
    for start in range(0, len(rows), 1024):
        part = np.asarray(images[rows[start : start + 1024]]).mean(axis=3, dtype=np.float32)
        found[start : start + 1024] = _blocks(part).reshape(len(part), -1)
    found -= found.mean(axis=1, keepdims=True)
    found /= np.maximum(found.std(axis=1, keepdims=True), 1.0)
    return found


def _blocks(gray: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over GRID x GRID blocks, as even as the sides allow."""
    for axis in (1, 2):
        side = gray.shape[axis]
        if side < GRID:
            gray = np.repeat(gray, -(-GRID // side), axis=axis)
            side = gray.shape[axis]
        edges = np.linspace(0, side, GRID + 1).astype(np.int64)
        sums = np.add.reduceat(gray, edges[:-1], axis=axis)
        shape = [1, 1, 1]
        shape[axis] = GRID
        gray = (sums / np.diff(edges).reshape(shape)).astype(np.float32)
    return gray
