"""Weights of images: how often each one counts in training, where a dataset says so.

An image of weight 2 counts as if it were there twice, one of weight 0 is not trained on. Scores count every
image once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import NoTaskError, Rows, some
from automl_transfer.domain.task import Split, TrainingWeights
from automl_transfer.errors import DataError

Weights = npt.NDArray[np.float64]

LEAST, MOST = 1e-9, 1e9
RULE = f"a weight must be 0, or a number from {LEAST:g} to {MOST:g}"
LISTED = 5


def mistaken(weights: Weights) -> Rows:
    """The positions of those that are no weights."""
    usable = (weights == 0.0) | ((weights >= LEAST) & (weights <= MOST))
    return np.flatnonzero(~usable)


def of_texts(texts: Sequence[str], rows: Sequence[int], column: str, table: str) -> Weights:
    """The weights that the cells of a table say.

    Args:
        texts: The cells.
        rows: Numbers of their rows, for errors.
        column: Name of the column.
        table: Name of the table.

    Raises:
        DataError: One is no weight; says which rows, and their values.
    """
    found = np.array([_number(text) for text in texts], np.float64)
    if len(wrong := mistaken(found)):
        listed = ", ".join(f"{texts[at]!r} in row {rows[at]:,}" for at in wrong[:LISTED])
        more = f" and {len(wrong) - LISTED:,} more" if len(wrong) > LISTED else ""
        raise DataError(
            f"{RULE}, got {listed}{more} of column {column!r} of {table!r}: correct it, or leave the column "
            'out with --columns weight= (task.columns.weight = "" in a study file)'
        )
    return found


def of_values(values: object, images: int, what: str) -> Weights:
    """The weights that an array holds, one an image.

    Raises:
        DataError: They are of another number, or one is no weight; `what` says where they stand.
    """
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} must hold one number an image, got {type(values).__name__}") from None
    if found.shape != (images,):
        raise DataError(f"{what} must hold one number an image ({images:,}), got the shape {found.shape}")
    if len(wrong := mistaken(found)):
        listed = ", ".join(f"{found[at]:g} for image {at}" for at in wrong[:LISTED])
        more = f" and {len(wrong) - LISTED:,} more" if len(wrong) > LISTED else ""
        raise DataError(f"{RULE}, got {listed}{more} in {what}")
    return found.copy()


def said(weights: Weights | None) -> Weights | None:
    """The weights; None where they say nothing, because each is 1."""
    return None if weights is None or bool((weights == 1.0).all()) else weights


def trained(
    indices: Mapping[Split, Rows], weights: Weights | None, labels: Rows, classes: Sequence[str]
) -> tuple[dict[Split, Rows], str]:
    """The splits without training images of weight 0, and what is wrong then, if anything is.

    Raises:
        NoTaskError: No training image is left.
    """
    found = dict(indices)
    if weights is None:
        return found, ""
    before, found["train"] = indices["train"], indices["train"][weights[indices["train"]] > 0.0]
    if not len(found["train"]):
        raise NoTaskError(f"training images must have a weight above 0, got 0 for all {len(before):,}")
    gone = np.setdiff1d(labels[before], labels[found["train"]])
    if not len(gone):
        return found, ""
    return found, (
        "each class must have a training image with a weight above 0, got 0 for all of "
        f"{some([classes[label] for label in gone])}: leave these classes out, or give their images a weight"
    )


def summary(weights: Weights | None, rows: Rows) -> TrainingWeights | None:
    """Those of the training rows, in short; None where each counts once."""
    own = None if weights is None else said(weights[rows])
    if own is None:
        return None
    return TrainingWeights(lowest=float(own.min()), highest=float(own.max()), mean=float(own.mean()))


def balanced(labels: Rows, classes: int, weights: Weights | None = None) -> Weights:
    """N / (C n_c) for each class, 0 for one that does not occur; with weights, N and n_c are their sums."""
    counts = np.bincount(labels, weights=weights, minlength=classes).astype(np.float64)
    total = len(labels) if weights is None else weights.sum()
    share = total / (np.count_nonzero(counts) * np.where(counts > 0.0, counts, 1.0))
    return np.asarray(np.where(counts > 0.0, share, 0.0), np.float64)


def _number(text: str) -> float:
    try:
        return float(text.strip().replace("_", "?"))
    except ValueError:
        return float("nan")
