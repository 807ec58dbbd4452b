"""Labels of images in arrays: one an image, numbers or texts, with hints for what people try instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from automl_transfer.errors import DataError

Array = npt.NDArray[Any]


def one_an_image(labels: Array, images: int, what: str) -> Array:
    """Labels as (N,); (N, 1) is fine.

    Raises:
        DataError: There is not one label an image.
    """
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or len(flat) != images:
        hint = (
            "; several labels an image are out of scope" if labels.ndim == 2 and len(labels) == images else ""
        )
        hint = f"; they are one-hot: take {what.split()[-1]}.argmax(1)" if is_one_hot(labels) else hint
        raise DataError(
            f"{what} must hold one label an image ({images:,}), got shape {tuple(labels.shape)}{hint}"
        )
    return flat


def is_one_hot(labels: Array) -> bool:
    """Whether each row has a single 1 and nothing else."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "buif" or not labels.size:
        return False
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())


def classes_of(
    file: str, labels: Array, names: Array | None
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The classes, and each label's position among them.

    Raises:
        DataError: Labels are neither whole numbers nor texts, or none of the names.
    """
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "buiUS":
        raise DataError(
            f"{file}: labels must be integers or strings, got {labels.dtype}: store labels.astype(str); "
            "numbers to predict (regression) are out of scope"
        )
    if names is None:
        values, numbers = np.unique(labels, return_inverse=True)
        return tuple(map(_text, values.tolist())), numbers.astype(np.int64)
    classes = tuple(_text(name) for name in np.ravel(names).tolist())
    if labels.dtype.kind in "US":
        position = {name: label for label, name in enumerate(classes)}
        texts = [_text(label) for label in labels.tolist()]
        unknown = sorted(set(texts) - set(classes))
        if unknown:
            raise DataError(f"{file}: labels must be among classes {classes[:20]}, got {unknown[:5]}")
        return classes, np.array([position[text] for text in texts], np.int64)
    if len(labels) and (labels.min() < 0 or labels.max() >= len(classes)):
        raise DataError(
            f"{file}: labels must lie in 0..{len(classes) - 1} (one of {len(classes)} classes), got "
            f"{labels.min()} to {labels.max()}"
        )
    return classes, labels.astype(np.int64)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
