"""Shortcuts: what tells the label without looking at what the image shows (Geirhos et al. 2020).

Borders alone, stored sizes, file formats and metadata each get a small model of their own, judged by balanced
accuracy on images that it was not fitted on. Where answers have nothing to do with labels, that is 1 / C on
average, whatever the answers' shares, with a variance that these say.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from automl_transfer.data.base import Pixels, Rows
from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.file_facts import facts_of
from automl_transfer.doctor.findings import Finding
from automl_transfer.errors import DataError

MOST = 4000
"""Images that are looked at, in the classes' shares."""
FOLDS = 5
LEAST_GAIN, CHANCE = 0.15, 1e-4
"""A finding tells at least this share of what is between chance and certainty, and is that unlikely."""
GRAVE = 0.5
RING = 16
"""The border is this part of the side, at least a pixel."""


class Shortcuts(Check):
    """A small cross-validated model for each thing that should not tell the label."""

    name, title = "shortcuts", "Shortcuts"

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """A finding for each of them that tells the label."""
        task = patient.task
        rows = patient.sample(MOST)
        labels = task.labels[rows]
        groups = rows if task.together is None else task.together[rows]
        fewest = min(np.bincount(labels)[np.unique(labels)].min(), len(np.unique(groups)))
        if fewest < FOLDS:
            raise DataError(
                f"small models are judged on {FOLDS} parts of the images, got {fewest} of a class or groups: "
                "collect more"
            )
        folds = _folds(labels, groups)
        for what, values in _things(patient, rows):
            if values.shape[1] == 0 or np.ptp(values, axis=0).max() == 0:
                continue
            answers = _answers(values, labels, folds, linear=what == "borders")
            score, chance, p = judge(answers, labels)
            gain = (score - chance) / (1.0 - chance)
            if gain < LEAST_GAIN or p > CHANCE:
                continue
            yield Finding(
                check=self.name,
                title=f"{what.capitalize()} tell the label",
                weight="grave"
                if gain >= GRAVE and what != "borders"
                else "look"
                if what != "borders"
                else "note",
                says=f"A small model that sees the {what} alone is right on {100 * score:.1f}% of the "
                f"images it was not fitted on, each class counted once; chance gives "
                f"{100 * chance:.1f}%. {_MEANING[what]}",
                reliability=f"Five-fold cross-validation on {len(rows):,} images; p {_shown(p)} against "
                "answers that have nothing to do with labels.",
                false_alarms=CHANCE,
            )


def _shown(p: float) -> str:
    return f"= {p:.1g}" if p >= 1e-12 else "< 1e-12"


_MEANING = {
    "borders": "Backgrounds may belong to the class, or to where its images were taken.",
    "sizes": "Probably classes come from different places; a network sees sizes as distortion and blur.",
    "formats": "Classes come from different programs or cameras: compression leaves traces that networks "
    "see.",
    "metadata": "Classes come from different cameras or programs.",
}


def _things(patient: Patient, rows: Rows) -> Iterable[tuple[str, npt.NDArray[np.float64]]]:
    yield "borders", borders(patient.task.images, rows)
    sizes = patient.details.cached.sizes[rows].astype(np.float64)
    if patient.details.inventory is not None:
        yield "sizes", np.column_stack([np.log(sizes), np.log(sizes[:, 0] / sizes[:, 1])])
    files = patient.files()
    if files is not None:
        formats, metadata = facts_of([files[row] for row in rows])
        yield "formats", formats
        yield "metadata", metadata


def borders(images: Pixels, rows: Rows) -> npt.NDArray[np.float64]:
    """float64 (n, F): means and deviations of eight pieces of each side of the outer ring."""
    side = images.shape[1]
    ring, pieces = max(1, side // RING), min(8, side)
    found = []
    for start in range(0, len(rows), 512):
        part = np.asarray(images[rows[start : start + 512]]).astype(np.float64)
        strips = (
            part[:, :ring],
            part[:, -ring:],
            part[:, :, :ring].swapaxes(1, 2),
            part[:, :, -ring:].swapaxes(1, 2),
        )
        values = []
        for strip in strips:
            cut = np.array_split(strip, pieces, axis=2)
            values += [each.mean(axis=(1, 2)) for each in cut] + [each.std(axis=(1, 2)) for each in cut]
        found.append(np.concatenate(values, axis=1))
    return np.concatenate(found)


def judge(answers: Rows, labels: Rows) -> tuple[float, float, float]:
    """Balanced accuracy, what chance gives, and the probability of so much by chance (normal, one-sided)."""
    classes = np.unique(labels)
    recalls, variance = [], 0.0
    for label in classes:
        own = labels == label
        recalls.append(float((answers[own] == label).mean()))
        share = float((answers == label).mean())
        variance += share * (1.0 - share) / own.sum()
    score, chance = float(np.mean(recalls)), 1.0 / len(classes)
    deviation = np.sqrt(variance) / len(classes)
    p = float(norm.sf((score - chance) / deviation)) if deviation > 0 else 1.0
    return score, chance, p


def _folds(labels: Rows, groups: Rows) -> list[tuple[Rows, Rows]]:
    """Places to fit on and to judge on: classes in their shares, what belongs together in one fold."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    alone = len(np.unique(groups)) == len(groups)
    kind = (
        StratifiedKFold if alone else StratifiedGroupKFold
    )  # the latter takes seconds for thousands of groups
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(kind(FOLDS, shuffle=True, random_state=0).split(labels, labels, groups))


def _answers(
    values: npt.NDArray[np.float64], labels: Rows, folds: list[tuple[Rows, Rows]], *, linear: bool
) -> Rows:
    """Out-of-fold answers; classes count the same."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    model = (
        make_pipeline(StandardScaler(), RidgeClassifier(alpha=10.0, class_weight="balanced"))
        if linear
        else DecisionTreeClassifier(max_depth=6, min_samples_leaf=5, class_weight="balanced", random_state=0)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(cross_val_predict(model, values, labels, cv=folds))
