"""From what scikit-learn users pass as X to uint8 pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import validate_data

from automl_transfer.data.base import Pixels, fitting_resolution
from automl_transfer.data.decode import from_array

Array = npt.NDArray[Any]


class PixelInput:
    """Remembers, from `fit`, the shape and the range of the images.

    Args:
        resolution: Pixels of the square that images are resized to; None for a fitting one.
    """

    def __init__(self, resolution: int | None) -> None:
        self._wanted = resolution

    def fit(self, estimator: Any, X: Any, y: Any) -> tuple[Pixels, Array]:  # noqa: N803
        """Pixels (n, resolution, resolution, channels) of the training images, and checked labels.

        Raises:
            ValueError: X is no array of images.
        """
        values, labels = validate_data(estimator, X, y, **_RULES)
        self.shape = values.shape[1:]
        whole = values.dtype == np.uint8
        self.range = (0.0, 255.0) if whole else (float(values.min()), float(values.max()))
        images = self._images(values)
        self.resolution = self._wanted or fitting_resolution(math.sqrt(images.shape[1] * images.shape[2]))
        return self._resized(images), labels

    def pixels(self, estimator: Any, X: Any) -> Pixels:  # noqa: N803
        """Pixels of other images, which must have the shape of the training images.

        Raises:
            ValueError: They have not.
        """
        values = validate_data(estimator, X, reset=False, **_RULES)
        if values.shape[1:] != self.shape:
            raise ValueError(
                f"X must have images of the shape {self.shape} as in fit, got {values.shape[1:]}"
            )
        return self._resized(self._images(values))

    def _images(self, values: Array) -> Array:
        """As (n, H, W, C); rows of pixels fill a square, from the top, what is left of it is black."""
        if values.ndim == 2:
            side = math.isqrt(values.shape[1] - 1) + 1
            missing = side * side - values.shape[1]
            padded = np.pad(values, ((0, 0), (0, missing)), constant_values=self.range[0])
            return padded.reshape(len(values), side, side, 1)
        images = values[..., None] if values.ndim == 3 else values
        if images.ndim != 4 or images.shape[3] not in (1, 3):
            raise ValueError(
                f"X must be images (n, H, W), (n, H, W, 1 | 3) or (n, pixels), got the shape {values.shape}"
            )
        return images

    def _resized(self, images: Array) -> Pixels:
        channels = images.shape[3]
        if images.dtype != np.uint8:
            low, high = self.range
            span = high - low or 1.0
            images = np.rint(np.clip((images - low) / span, 0.0, 1.0) * 255.0).astype(np.uint8)
        if images.shape[1:3] == (self.resolution, self.resolution):
            return np.ascontiguousarray(images)
        return np.stack([from_array(image, channels, self.resolution).pixels for image in images])


_RULES: dict[str, Any] = {"allow_nd": True, "dtype": [np.uint8, np.float64], "ensure_min_samples": 1}
