"""From what scikit-learn users pass as X to uint8 pixels, by its values and never by a cast."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import validate_data

from automl_transfer.data.base import Pixels, fitting_resolution
from automl_transfer.data.decode import from_array
from automl_transfer.data.image_shape import ImageShape, of_sides, square_of, which_shapes
from automl_transfer.data.labels import is_one_hot
from automl_transfer.data.scaling import scaled_alike, see, to_pixels
from automl_transfer.data.weights import Weights, of_values
from automl_transfer.domain.pixel_range import (
    PixelRange,
    Seen,
    asked,
    usual,
)
from automl_transfer.errors import ConfigurationError, DataError

Array = npt.NDArray[Any]

PADDED = "padded"
"""Instead of a shape: a row of any length fills the smallest square that holds it."""

_RULES: dict[str, Any] = {"allow_nd": True, "dtype": "numeric", "ensure_min_samples": 1}
"""As scikit-learn's own estimators check X, but for its type: it stays what it is."""
_HOW = "pixel_range=(low, high)"


class PixelInput:
    """Remembers, from `fit`, the shape and the range of the images.

    Args:
        resolution: Pixels of the square that images are resized to; None for a fitting one.
        image_shape: Of rows of numbers; None for gray squares, or `PADDED`.
        pixel_range: The numbers that are black and white; None to judge them in `fit`.

    Raises:
        ConfigurationError: One of them cannot be.
    """

    def __init__(
        self,
        resolution: int | None,
        image_shape: Sequence[int] | str | None = None,
        pixel_range: Sequence[float] | PixelRange | None = None,
    ) -> None:
        self._wanted = resolution
        self._padded = isinstance(image_shape, str) and image_shape == PADDED
        self._asked = _range(pixel_range)
        self._row = None if image_shape is None or self._padded else _row(image_shape)

    def fit(
        self,
        estimator: Any,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
    ) -> tuple[Pixels, Array, Weights | None]:
        """Pixels (n, resolution, resolution, channels) of the training images, checked labels and weights.

        Images of weight 0 are left out.

        Raises:
            ValueError: X is no array of images, y is none of labels, or sample_weight none of weights.
        """
        values, labels = validate_data(estimator, _plain(X), _labels(y), **_RULES)
        weights = None
        if sample_weight is not None:
            weights = _weights(_plain(sample_weight), len(values))
            counts = weights > 0.0
            if not counts.all():
                values, labels, weights = values[counts], labels[counts], weights[counts]
        self.shape = values.shape[1:]
        self.pixel_range = self._asked or _judged(_see(values))
        images = self._images(to_pixels(values, self.pixel_range))
        own = fitting_resolution(math.sqrt(images.shape[1] * images.shape[2]))
        self.resolution = own if self._wanted is None else self._wanted
        return self._resized(images), labels, weights

    def pixels(self, estimator: Any, X: Any) -> Pixels:  # noqa: N803
        """Pixels of other images, which must have the shape and the scale of the training images.

        Raises:
            ValueError: They have not.
        """
        values = validate_data(estimator, _plain(X), reset=False, **_RULES)
        if values.shape[1:] != self.shape:
            raise ValueError(
                f"X must have images of the shape {self.shape} as in fit, got {values.shape[1:]}"
            )
        try:
            values = scaled_alike(values, self.pixel_range, "X", f"{_HOW} of the estimator")
        except DataError as error:
            raise ValueError(str(error)) from None
        return self._resized(self._images(to_pixels(values, self.pixel_range)))

    def _images(self, values: Pixels) -> Pixels:
        """As (n, H, W, C)."""
        if values.ndim == 2:
            return self._of_rows(values)
        if self._row is not None:
            raise ValueError(f"image_shape is for rows of numbers, got X with the shape {values.shape}")
        images = values[..., None] if values.ndim == 3 else values
        if images.ndim != 4 or images.shape[3] not in (1, 3):
            first = images.ndim == 4 and images.shape[1] in (1, 3)
            raise ValueError(
                f"X must be images (n, H, W), (n, H, W, 1 | 3) or (n, numbers), got the shape {values.shape}"
                + ("; channels come last: pass np.moveaxis(X, 1, -1)" if first else "")
            )
        return images

    def _of_rows(self, rows: Pixels) -> Pixels:
        numbers = rows.shape[1]
        if self._padded:
            side = math.isqrt(numbers - 1) + 1
            filled = np.pad(rows, ((0, 0), (0, side * side - numbers)))
            return filled.reshape(len(rows), side, side, 1)
        shape = self._row or square_of(numbers)
        if shape is None:
            raise ValueError(
                f"X must be images, got rows of {numbers:,} numbers, which fill no gray square: "
                + which_shapes(numbers, "image_shape={}")
            )
        if shape.numbers != numbers:
            raise ValueError(f"X must have rows of {shape.numbers:,} numbers ({shape}), got {numbers:,}")
        return shape.of(rows)

    def _resized(self, images: Pixels) -> Pixels:
        if images.shape[1:3] == (self.resolution, self.resolution):
            return np.ascontiguousarray(images)
        channels = images.shape[3]
        return np.stack([from_array(image, channels, self.resolution).pixels for image in images])


def _row(shape: Sequence[int] | str) -> ImageShape:
    if isinstance(shape, str):
        raise ConfigurationError(f"image_shape must be a shape, {PADDED!r} or None, got {shape!r}")
    try:
        found = of_sides([int(side) for side in shape])
    except (DataError, TypeError, ValueError) as error:
        raise ConfigurationError(f"image_shape: {error}") from None
    if found.channels == 4:
        raise ConfigurationError(f"image_shape must have 1 or 3 channels, got {tuple(shape)}")
    return found


def _range(given: Sequence[float] | PixelRange | None) -> PixelRange | None:
    if given is None or isinstance(given, PixelRange):
        return given
    try:
        low, high = given
        return asked(float(low), float(high))
    except (DataError, TypeError, ValueError):
        raise ConfigurationError(
            f"pixel_range must be two numbers, the smaller first, got {given!r}"
        ) from None


def _plain(X: Any) -> Any:  # noqa: N803
    """Tensors of torch as arrays, wherever they are; anything else as it is."""
    if type(X).__module__.partition(".")[0] != "torch" or not hasattr(X, "detach"):
        return X
    tensor = X.detach().cpu()
    try:
        return tensor.numpy()
    except TypeError:  # numpy has no bfloat16
        return tensor.float().numpy()


def _labels(y: Any) -> Any:
    found = _plain(y)
    labels = np.asarray(found)
    if is_one_hot(labels):
        raise ValueError(
            f"y must hold one label an image, got one-hot labels {labels.shape}: pass y.argmax(1)"
        )
    if labels.dtype == object and labels.ndim == 1 and len({type(each) for each in labels}) > 1:
        raise ValueError("y must hold labels of one type, got a mixture of types: pass y.astype(str)")
    return found


def _weights(values: Any, images: int) -> Weights:
    try:
        found = of_values(values, images, "sample_weight")
    except DataError as error:
        raise ValueError(str(error)) from None
    if not (found > 0.0).any():
        raise ValueError(f"sample_weight must not be zero for all images, got zero {images:,} times")
    return found


def _see(values: Array) -> Seen:
    found = see(values)
    assert found is not None  # scikit-learn has refused what is empty or not finite
    return found


def _judged(seen: Seen) -> PixelRange:
    """A usual range, or else from the smallest to the largest number, which is said."""
    found = usual(seen)
    if found is not None:
        return found
    high = seen.high if seen.high > seen.low else seen.low + max(1.0, abs(seen.low))
    if not math.isfinite(high - seen.low):
        raise ValueError(f"X must hold numbers that are images, got {seen}")
    warnings.warn(
        f"X has numbers from {seen}, which is no usual range of pixels: these become black and white, in "
        f"predict too; say {_HOW} where others are meant",
        UserWarning,
        stacklevel=2,
    )
    return PixelRange(low=seen.low, high=high, word="as in fit")
