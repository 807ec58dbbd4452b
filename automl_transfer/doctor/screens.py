"""What the two screens for backdoors share: the features of each class, split in two, and classes compared.

Whoever plants a backdoor wants one class. A part that stands apart in most classes is something else.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding, Suspect

Array = npt.NDArray[np.float64]

LEAST_OF_A_CLASS = 20
BEYOND = 2.0
"""A class stands out that is so many times as clear as others usually are."""
LEAST_PART, MOST_PART = 3, 0.4
"""A part that may be poison has so many images, and is at most this share of its class."""


def may_be_poison(part: int, whole: int) -> bool:
    """Whether a part of a class has a size that poison would have."""
    return LEAST_PART <= part <= MOST_PART * whole


def two_parts(values: Array) -> npt.NDArray[np.bool_]:
    """The smaller of two clusters (n, D) by 2-means from the ends of the first principal direction."""
    centred = values - values.mean(axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    place = centred @ direction
    second = place > np.median(place) + (place.max() - np.median(place)) / 2
    if abs(place.min() - np.median(place)) > place.max() - np.median(place):
        second = place < np.median(place) + (place.min() - np.median(place)) / 2
    for _ in range(50):
        if not second.any() or second.all():
            return np.zeros(len(values), np.bool_)
        near = values[second].mean(axis=0), values[~second].mean(axis=0)
        new = np.square(values - near[0]).sum(axis=1) < np.square(values - near[1]).sum(axis=1)
        if (new == second).all():
            break
        second = new
    smaller: npt.NDArray[np.bool_] = second if second.sum() * 2 <= len(second) else ~second
    return smaller


@dataclass(frozen=True)
class Part:
    """A small part of a class that stands apart.

    Attributes:
        label: The class.
        rows: Its images, oddest first.
        whole: Images of the class.
        strength: How clearly it is apart.
        scores: Of `rows`.
    """

    label: int
    rows: npt.NDArray[np.int64]
    whole: int
    strength: float
    scores: Array


def standing_out(strengths: Sequence[float], least: float) -> tuple[list[int], list[int]]:
    """Places of the classes that stand out, and of the others that are clear, too, but not more than others.

    Those stand out that are `BEYOND` times as clear as the usual other clear class, and at least half as
    clear as the clearest.
    """
    clear = [at for at, strength in enumerate(strengths) if strength >= least]
    out = []
    for at in clear:
        others = [strengths[other] for other in clear if other != at]
        if strengths[at] >= BEYOND * np.median(others or [0.0]) and strengths[at] >= 0.5 * max(strengths):
            out.append(at)
    return out, [at for at in clear if at not in out]


class Screen(Check):
    """Splits each class in two, and names those with a part that stands apart as no other's does.

    Attributes:
        least: From which clearness on a part counts.
        score_means: What the scores of images are; up to a colon, the name of the clearness.
        reliability: How far to believe it.
    """

    least: ClassVar[float]
    score_means: ClassVar[str]
    reliability: ClassVar[str]

    @abstractmethod
    def part(self, x: Array) -> tuple[npt.NDArray[np.bool_], Array, float]:
        """Of centred features (n, D) of a class: a part, a score of each image, and the part's clearness."""

    def examine(self, patient: Patient) -> Iterator[Finding]:
        """A finding for each class that stands out, or a note where others are as clear."""
        labels, classes = patient.task.labels[patient.pool], patient.task.task.classes
        for view, values in patient.views:
            parts: list[Part] = []
            for label in np.unique(labels):
                own = np.flatnonzero(labels == label)
                if len(own) < LEAST_OF_A_CLASS:
                    continue
                x = values[own].astype(np.float64)
                part, scores, strength = self.part(x - x.mean(axis=0))
                inside = np.flatnonzero(part)
                inside = inside[np.argsort(-scores[inside], kind="stable")]
                if not may_be_poison(len(inside), len(own)):
                    strength = 0.0
                parts.append(Part(int(label), patient.pool[own[inside]], len(own), strength, scores[inside]))
            chosen, usual = standing_out([each.strength for each in parts], self.least)
            for each in (parts[at] for at in chosen):
                yield Finding(
                    check=self.name,
                    title=f"A part of {classes[each.label]} stands apart ({view} features)",
                    weight="look",
                    says=f"{len(each.rows):,} of {each.whole:,} images of the class are apart from the "
                    f"others ({self.score_means.split(':')[0]} {each.strength:.2g}; other classes "
                    f"{np.median([p.strength for p in parts]):.2g}).",
                    images=len(each.rows),
                    score_means=self.score_means,
                    reliability=self.reliability,
                    suspects=_suspects(patient, each),
                )
            if usual:
                clearest = max((parts[at] for at in usual), key=lambda each: each.strength)
                yield Finding(
                    check=self.name,
                    title=f"{_several(len(usual), len(parts))} of two kinds ({view} features)",
                    weight="note",
                    says=f"{len(usual)} of {len(parts)} classes have a small part that stands apart: "
                    "rather two sources of images (two cameras, two studios) than a backdoor, which has one "
                    "target. Those of "
                    f"{classes[clearest.label]} are shown.",
                    images=sum(len(parts[at].rows) for at in usual),
                    score_means=self.score_means,
                    reliability=self.reliability,
                    suspects=_suspects(patient, clearest),
                )


def _several(some: int, of: int) -> str:
    return "Most classes are" if 2 * some > of else "Some classes are" if some > 1 else "A class is"


def _suspects(patient: Patient, part: Part) -> tuple[Suspect, ...]:
    return tuple(
        patient.suspect(int(row), what="stands apart", score=float(score))
        for row, score in zip(part.rows, part.scores, strict=True)
    )
