"""What the two screens for backdoors share: the features of each class, split in two, and classes compared.

Whoever plants a backdoor wants one class. A part that stands apart in most classes is something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from automl_transfer.doctor.base import Patient
from automl_transfer.doctor.findings import Finding, Suspect
from automl_transfer.doctor.neighbours import reduced

Array = npt.NDArray[np.float64]

LEAST_OF_A_CLASS = 20
BEYOND = 2.0
"""A class stands out that is so many times as clear as others usually are."""
LEAST_PART, MOST_PART = 3, 0.4
"""A part that may be poison has so many images, and is at most this share of its class."""


def views(patient: Patient) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Features of the pool: the late ones, and the early ones that know where in the image something is."""
    features = patient.features
    at = features.at(patient.pool)
    for name, values in (("late", features.late), ("early", features.early)):
        yield name, reduced(values[at])


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


def screened(
    patient: Patient,
    check: str,
    measure: Callable[[Array], tuple[npt.NDArray[np.bool_], Array, float]],
    least: float,
    score_means: str,
    reliability: str,
) -> Iterator[Finding]:
    """Findings of a screen.

    Args:
        patient: Whose pool is screened.
        check: Name of the screen.
        measure: Of the centred features (n, D) of a class: the part, a score of each image, and how clearly
            the part is apart.
        least: From which clearness on it counts.
        score_means: What the scores are.
        reliability: How far to believe it.
    """
    labels, classes = patient.task.labels[patient.pool], patient.task.task.classes
    for view, values in views(patient):
        parts: list[Part] = []
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            if len(own) < LEAST_OF_A_CLASS:
                continue
            x = values[own].astype(np.float64)
            part, scores, strength = measure(x - x.mean(axis=0))
            inside = np.flatnonzero(part)
            inside = inside[np.argsort(-scores[inside], kind="stable")]
            if not may_be_poison(len(inside), len(own)):
                strength = 0.0
            parts.append(Part(int(label), patient.pool[own[inside]], len(own), strength, scores[inside]))
        chosen, usual = standing_out([each.strength for each in parts], least)
        for each in (parts[at] for at in chosen):
            yield Finding(
                check=check,
                title=f"A part of {classes[each.label]} stands apart ({view} features)",
                weight="look",
                says=f"{len(each.rows):,} of {each.whole:,} images of the class are apart from the others "
                f"({score_means.split(':')[0]} {each.strength:.2g}; other classes "
                f"{np.median([p.strength for p in parts]):.2g}).",
                images=len(each.rows),
                score_means=score_means,
                reliability=reliability,
                suspects=_suspects(patient, each),
            )
        if usual:
            clearest = max((parts[at] for at in usual), key=lambda each: each.strength)
            yield Finding(
                check=check,
                title=f"{_several(len(usual), len(parts))} of two kinds ({view} features)",
                weight="note",
                says=f"{len(usual)} of {len(parts)} classes have a small part that stands apart: rather two "
                f"sources "
                "of images (two cameras, two studios) than a backdoor, which has one target. Those of "
                f"{classes[clearest.label]} are shown.",
                images=sum(len(parts[at].rows) for at in usual),
                score_means=score_means,
                reliability=reliability,
                suspects=_suspects(patient, clearest),
            )


def _several(some: int, of: int) -> str:
    return "Most classes are" if 2 * some > of else "Some classes are" if some > 1 else "A class is"


def _suspects(patient: Patient, part: Part) -> tuple[Suspect, ...]:
    return tuple(
        patient.suspect(int(row), what="stands apart", score=float(score))
        for row, score in zip(part.rows, part.scores, strict=True)
    )
