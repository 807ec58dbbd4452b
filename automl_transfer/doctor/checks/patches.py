"""Repeated patches: a few pixels that are the same at the same place, on images of one label alone.

What BadNets (Gu et al. 2017) stamp on images, and what logos and time stamps of one camera look like. The
rounded pixels of every 3x3 square are compared. Where nearly all images that share a square have one label,
and such squares are seen hardly anywhere else, chance does not explain it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from automl_transfer.data.base import Pixels, Rows
from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding
from automl_transfer.doctor.screens import standing_out

SIDE = 3
LEVELS = 16
"""Values of a pixel that count as one."""
MOST_IMAGES, MOST_CODES = 4000, 20_000_000
LEAST_IMAGES, LEAST_PURE = 5, 0.9
ELSEWHERE = 2e-4
"""Squares that make up more than this share of all squares of all images are ordinary."""
CHANCE = 1e-6
"""Of one finding in the whole dataset, where labels and squares have nothing to do with each other."""
RELIABILITY = (
    "Chance would give such a square in one dataset of a million, but a class may have it for good "
    "reasons: look "
    "at the place. A trigger that is blended in, moves or changes is not found, nor one as common elsewhere "
    "as a "
    "white spot on white pages (rates: docs, Robustness)."
)


class RepeatedPatches(Check):
    """By equal squares at equal places, and a binomial test of their labels."""

    name, title = "patches", "Backdoors, by repeated patches"

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """A finding for each label that has squares of its own."""
        task = patient.task
        rows = patient.sample(MOST_IMAGES)
        labels = task.labels[rows]
        shares = np.bincount(labels, minlength=len(task.task.classes)) / len(labels)
        height, width = task.images.shape[1:3]
        step = max(1, int(np.ceil(np.sqrt(len(rows) * height * width / MOST_CODES))))
        codes = squares(task.images, rows, step)
        common = _ordinary(codes)
        tests = codes[0].size
        found: dict[int, list[tuple[float, int, npt.NDArray[np.int64]]]] = {}
        for place in range(tests):
            column = codes.reshape(len(rows), -1)[:, place]
            for members in _shared(column, common):
                counts = np.bincount(labels[members], minlength=len(shares))
                label = int(counts.argmax())
                if counts[label] < LEAST_PURE * len(members):
                    continue
                chance = tests * float(binom.sf(counts[label] - 1, len(members), shares[label]))
                if chance < CHANCE:
                    found.setdefault(label, []).append((chance, place, members))
        best = {label: min(each, key=lambda one: one[0]) for label, each in found.items()}
        order_of = sorted(best)
        clear = [-np.log10(max(best[label][0], 1e-300)) for label in order_of]
        chosen, usual = standing_out(clear, -float(np.log10(CHANCE)))
        for at in chosen:
            label = order_of[at]
            chance, place, members = best[label]
            row, column = divmod(place, codes.shape[2])
            near = [each for _, where, each in found[label] if _beside(where, place, codes.shape[2], step)]
            own = np.unique(np.concatenate([each[labels[each] == label] for each in near]))
            yield Finding(
                check=self.name,
                title=f"A patch that only {task.task.classes[label]} has",
                weight="look",
                says=f"{len(members):,} images have the same pixels at row {step * row}, column "
                f"{step * column} (of {height}), and {int((labels[members] == label).sum()):,} of them have "
                f"this label (by chance: {chance:.0e}); with the squares beside it, {len(own):,} have.",
                images=len(own),
                reliability=RELIABILITY,
                suspects=tuple(patient.suspect(int(rows[at]), what="has the patch", score=1.0) for at in own),
            )
        if usual:
            yield Finding(
                check=self.name,
                title="Classes with pixels of their own",
                weight="note",
                says=f"{len(usual)} of {len(shares)} classes have equal squares of pixels that others do "
                f"not have: "
                "what drawings and small images are like, rather than a backdoor, which has one target.",
                reliability=RELIABILITY,
            )


def squares(images: Pixels, rows: Rows, step: int) -> npt.NDArray[np.uint64]:
    """(n, h, w) a number for the rounded pixels of every `step`-th square, equal for equal ones."""
    height, width, channels = images.shape[1:]
    tops, lefts = range(0, height - SIDE + 1, step), range(0, width - SIDE + 1, step)
    generator = np.random.default_rng(0)
    keys = generator.integers(1, 2**63, (SIDE, SIDE, channels), dtype=np.uint64) | np.uint64(1)
    found = np.zeros((len(rows), len(tops), len(lefts)), np.uint64)
    for start in range(0, len(rows), 256):
        part = np.asarray(images[rows[start : start + 256]]).astype(np.uint16)
        part = ((part + LEVELS // 2) // LEVELS).astype(np.uint64)
        codes = found[start : start + 256]
        for dy in range(SIDE):
            for dx in range(SIDE):
                shifted = part[:, dy : dy + height - SIDE + 1 : step, dx : dx + width - SIDE + 1 : step]
                for channel in range(channels):
                    codes += shifted[..., channel] * keys[dy, dx, channel]
    return found


def _beside(place: int, other: int, width: int, step: int) -> bool:
    """Whether two squares touch."""
    (y, x), (v, u) = divmod(place, width), divmod(other, width)
    return max(abs(y - v), abs(x - u)) * step <= 2 * SIDE


def _ordinary(codes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Sorted numbers of squares that are seen often, by a sample of all places."""
    flat = codes.reshape(-1)
    some = flat[:: max(1, flat.size // 2_000_000)]
    values, counts = np.unique(some, return_counts=True)
    return values[counts > max(2.0, ELSEWHERE * some.size)]


def _shared(codes: npt.NDArray[np.uint64], common: npt.NDArray[np.uint64]) -> Iterable[npt.NDArray[np.int64]]:
    """The images that share a square at one place, for each square that is not ordinary."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.concatenate([starts, [len(codes)]]))
    for start, size in zip(starts[sizes >= LEAST_IMAGES], sizes[sizes >= LEAST_IMAGES], strict=True):
        place = np.searchsorted(common, ordered[start])
        if place == len(common) or common[place] != ordered[start]:
            yield order[start : start + size]
