"""Scores of probabilities against labels, image by image, in memory that does not grow with the images.

scikit-learn computes what it has; it is imported where it is used, because that takes a second.
"""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from automl_transfer.reporting.errors_of_winner import CalibrationBin
from automl_transfer.reporting.evaluation import AtThreshold, ClassScore, ConfusionCell
from automl_transfer.reporting.statistics import clopper_pearson

BINS = 10
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
THUMBNAIL = 96
IN_MEMORY = 64 << 20
"""Bytes of probabilities that are kept in memory; more lie in a temporary file."""

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """Scores of all judged images: the fields of `Evaluation` of the same names."""

    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    nll: float
    auroc: float | None
    by_class: tuple[ClassScore, ...]
    confusion: tuple[ConfusionCell, ...]


class Answers:
    """What a model said about `images` images: filled batch by batch, then scored.

    Attributes:
        truth, answer: (images,) positions of classes.
        sure: (images,) probability of the answer; `of_truth` that of the true class.
        log_truth: (images,) logarithm of the true class's probability.
        sure_before: `sure` without calibration, `log_truth_before` likewise.
        filled: Images so far.
    """

    def __init__(self, images: int, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.truth, self.answer = np.zeros(images, np.int64), np.zeros(images, np.int64)
        self.rows = np.zeros(images, np.int64)
        self.sure, self.of_truth = np.zeros(images), np.zeros(images)
        self.log_truth, self.log_truth_before = np.zeros(images), np.zeros(images)
        self.sure_before = np.zeros(images)
        self.filled = 0
        self._stack = ExitStack()
        self._columns = self._room(len(self.classes), images)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._columns
        self._stack.close()

    def add(
        self, rows: Rows, truth: Rows, probabilities: Floats, before: Floats, log_truth: tuple[Floats, Floats]
    ) -> None:
        """Take a batch: (n, classes) probabilities, calibrated and before, and (n,) of the other values."""
        here = slice(self.filled, self.filled + len(rows))
        answer = probabilities.argmax(axis=1)
        each = np.arange(len(rows))
        self.rows[here], self.truth[here], self.answer[here] = rows, truth, answer
        self.sure[here], self.of_truth[here] = probabilities[each, answer], probabilities[each, truth]
        self.sure_before[here] = before.max(axis=1)
        self.log_truth[here], self.log_truth_before[here] = log_truth
        self._columns[:, here] = probabilities.T
        self.filled += len(rows)

    def score(self) -> Scored:
        """All scores; at least one image must have been added."""
        from sklearn.metrics import precision_recall_fscore_support, recall_score

        n, count = self.filled, len(self.classes)
        truth, answer = self.truth[:n], self.answer[:n]
        images, answers = np.bincount(truth, minlength=count), np.bincount(answer, minlength=count)
        present, seen = np.flatnonzero(images), np.flatnonzero(images + answers)
        precision, recall, f1, _ = precision_recall_fscore_support(
            truth, answer, labels=np.arange(count), zero_division=0.0
        )
        right = np.bincount(truth[truth == answer], minlength=count)
        auroc = [self._auroc(label) if images[label] else None for label in range(count)]
        known = [value for value in auroc if value is not None]
        overall = float(np.mean(known)) if known else None
        hits = int(right.sum())
        return Scored(
            accuracy=hits / n,
            interval=clopper_pearson(hits, n),
            balanced_accuracy=float(
                recall_score(truth, answer, labels=present, average="macro", zero_division=0.0)
            ),
            macro_f1=float(f1[seen].mean()),
            nll=0.0 - float(self.log_truth[:n].mean()),  # never -0
            auroc=overall if count > 2 else auroc[-1],
            by_class=tuple(
                ClassScore(
                    name=name,
                    images=int(images[label]),
                    answers=int(answers[label]),
                    precision=float(precision[label]) if answers[label] else None,
                    recall=float(recall[label]) if images[label] else None,
                    f1=float(f1[label]) if images[label] + answers[label] else None,
                    recall_interval=clopper_pearson(int(right[label]), int(images[label]))
                    if images[label]
                    else None,
                    auroc=auroc[label],
                )
                for label, name in enumerate(self.classes)
            ),
            confusion=confusion_cells(truth, answer, count),
        )

    def worst(self, most: int) -> Rows:
        """Positions of the wrong answers, the surest first."""
        wrong = np.flatnonzero(self.truth[: self.filled] != self.answer[: self.filled])
        return wrong[np.argsort(-self.sure[wrong], kind="stable")][:most]

    def right(self) -> npt.NDArray[np.bool_]:
        """(filled,) whether the answer is the truth."""
        found: npt.NDArray[np.bool_] = self.truth[: self.filled] == self.answer[: self.filled]
        return found

    def _auroc(self, label: int) -> float | None:
        from sklearn.metrics import roc_auc_score

        own = self.truth[: self.filled] == label
        if own.all() or not own.any():
            return None
        return float(roc_auc_score(own, self._columns[label, : self.filled]))

    def _room(self, classes: int, images: int) -> npt.NDArray[Any]:
        """One row a class, so that a class's probabilities lie together."""
        if classes * images * 8 <= IN_MEMORY:
            return np.zeros((classes, images))
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="automl-transfer-"))
        return np.memmap(Path(folder) / "probabilities", np.float64, "w+", shape=(classes, images))


def confusion_cells(truth: Rows, answer: Rows, classes: int) -> tuple[ConfusionCell, ...]:
    """The cells of the confusion matrix that are not zero, in order."""
    places, counts = np.unique(truth * classes + answer, return_counts=True)
    return tuple(
        ConfusionCell(truth=int(place) // classes, answer=int(place) % classes, images=int(number))
        for place, number in zip(places, counts, strict=True)
    )


def calibration_bins(sure: npt.NDArray[Any], right: npt.NDArray[Any]) -> tuple[CalibrationBin, ...]:
    """Bins of equal width (Guo et al. 2017, section 2); empty ones are left out."""
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    return tuple(
        CalibrationBin(
            low=at / BINS,
            high=(at + 1) / BINS,
            images=int((place == at).sum()),
            confidence=float(sure[place == at].mean()),
            correct=int(right[place == at].sum()),
        )
        for at in range(BINS)
        if (place == at).any()
    )


def expected_error(bins: Sequence[CalibrationBin]) -> float:
    """Mean distance of confidence and accuracy, weighted by images (Guo et al. 2017, equation 3)."""
    total = sum(each.images for each in bins)
    return float(sum(abs(each.correct - each.confidence * each.images) for each in bins) / total)


def at_thresholds(sure: Floats, right: npt.NDArray[np.bool_], others: Floats) -> tuple[AtThreshold, ...]:
    """What keeps its label at each of `THRESHOLDS`; `others` are probabilities of images of other classes."""
    found = []
    for threshold in THRESHOLDS:
        kept = sure >= threshold
        images, hits = int(kept.sum()), int(right[kept].sum())
        found.append(
            AtThreshold(
                threshold=threshold,
                images=images,
                coverage=images / len(sure),
                accuracy=hits / images if images else None,
                interval=clopper_pearson(hits, images) if images else None,
                of_other_classes=int((others >= threshold).sum()),
            )
        )
    return tuple(found)


def thumbnail(pixels: npt.NDArray[np.uint8]) -> str:
    """Pixels (H, W, C) as a small PNG in base64."""
    from PIL import Image

    image = Image.fromarray(np.asarray(pixels).squeeze())
    small = max(image.size) < THUMBNAIL
    scale = THUMBNAIL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
