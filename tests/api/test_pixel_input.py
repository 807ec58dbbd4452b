"""X as people have it: numbers of any type become pixels by their values (D1)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator

from automl_transfer.api.pixel_input import PixelInput
from automl_transfer.errors import ConfigurationError

WHOLE = np.random.default_rng(0).integers(0, 256, (6, 8, 8))
WHOLE[0, 0, :2] = 0, 255
Y = [0, 1, 0, 1, 0, 1]


class Plain(BaseEstimator):
    """All that scikit-learn's validation needs of an estimator."""


def fitted(X: Any, **parameters: Any) -> tuple[PixelInput, np.ndarray]:  # noqa: N803
    taken = PixelInput(8, **parameters)
    return taken, taken.fit(Plain(), X, Y)[0]


KINDS = {
    "float32 in 0..1": (WHOLE / 255).astype(np.float32),
    "float64 in 0..1": WHOLE / 255,
    "float16 in 0..1": (WHOLE / 255).astype(np.float16),
    "float in 0..255": WHOLE.astype(np.float32),
    "float in -1..1": WHOLE / 127.5 - 1,
    "int64": WHOLE.astype(np.int64),
    "uint16": WHOLE.astype(np.uint16),
    "uint16, all bits": WHOLE.astype(np.uint16) * 257,
    "uint16, 12 bits": np.rint(WHOLE * (4095 / 255)).astype(np.uint16),
    "big-endian": WHOLE.astype(">i4"),
    "big-endian floats": (WHOLE / 255).astype(">f8"),
    "torch, uint8": torch.from_numpy(WHOLE.astype(np.uint8)),
    "torch, float": torch.from_numpy(WHOLE / 255).float().requires_grad_(),
    "lists": WHOLE.tolist(),
    "objects": WHOLE.astype(object),
}


@pytest.mark.parametrize("kind", KINDS)
def test_d1_the_same_values_are_the_same_pixels_whatever_their_type(kind: str) -> None:
    taken, pixels = fitted(KINDS[kind])
    assert np.array_equal(pixels[..., 0], WHOLE)
    assert np.array_equal(taken.pixels(_fitted_estimator(), KINDS[kind])[..., 0], WHOLE)


def _fitted_estimator() -> Plain:
    estimator = Plain()
    estimator.n_features_in_ = 8
    return estimator


def test_d1_booleans_and_bfloat16() -> None:
    black_and_white = np.where(WHOLE > 127, 255, 0)
    for given_ in (WHOLE > 127, torch.from_numpy(WHOLE > 127).to(torch.bfloat16)):
        assert np.array_equal(fitted(given_)[1][..., 0], black_and_white)


def test_d1_fitted_as_one_type_and_asked_as_another() -> None:
    taken, _ = fitted(WHOLE.astype(np.float64))
    for kind in (np.float32, np.float16, np.uint8, np.uint16, np.int64, ">i2"):
        assert np.array_equal(taken.pixels(_fitted_estimator(), WHOLE.astype(kind))[..., 0], WHOLE)
    assert str(taken.pixel_range) == "8 bits (0 to 255)"


def test_d1_what_is_plainly_scaled_otherwise_is_refused_not_black() -> None:
    taken, _ = fitted(WHOLE)
    with pytest.raises(ValueError, match="X must be scaled like the others, 8 bits"):
        taken.pixels(_fitted_estimator(), WHOLE / 255)
    taken, _ = fitted(WHOLE / 255)
    with pytest.raises(ValueError, match=r"X must lie in the range of the others, 0 to 1, got 0 to 255"):
        taken.pixels(_fitted_estimator(), WHOLE)


def test_eight_bits_are_not_nearly_black_where_more_were_trained_with() -> None:
    eight = WHOLE.astype(np.uint8)
    for high, remedy in ((1023, r"X \* \(1023 / 255\)"), (65535, r"X \* \(65535 / 255\)")):
        taken, pixels = fitted(np.rint(WHOLE * (high / 255)).astype(np.uint16))
        with pytest.raises(
            ValueError, match=rf"got uint8, which is of 8 bits and nearly black .*pass {remedy}"
        ):
            taken.pixels(_fitted_estimator(), eight)
        assert np.array_equal(taken.pixels(_fitted_estimator(), eight * (high / 255)), pixels)
        dark = taken.pixels(_fitted_estimator(), eight.astype(int))
        assert np.array_equal(dark[..., 0], np.rint(WHOLE / high * 255))
    signed, pixels = fitted(WHOLE * 257 - 32768)
    with pytest.raises(ValueError, match=r"pass X \* \(65535 / 255\) - 32768, or"):
        signed.pixels(_fitted_estimator(), eight)
    assert np.array_equal(signed.pixels(_fitted_estimator(), eight * (65535 / 255) - 32768), pixels)
    asked, _ = fitted(WHOLE, pixel_range=(0, 4095))  # somebody knows better
    assert np.array_equal(asked.pixels(_fitted_estimator(), eight)[..., 0], np.rint(WHOLE / 4095 * 255))


def test_numbers_of_no_usual_range_are_said_and_kept() -> None:
    standard = (WHOLE - WHOLE.mean()) / WHOLE.std()
    with pytest.warns(UserWarning, match=r"no usual range of pixels: .* say pixel_range=\(low, high\)"):
        taken, pixels = fitted(standard)
    assert np.array_equal(pixels[..., 0], WHOLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clipped = taken.pixels(_fitted_estimator(), standard * 2)
        window, _ = fitted(standard, pixel_range=(-1, 1))
    assert clipped.min() == 0
    assert clipped.max() == 255
    assert str(window.pixel_range) == "-1 to 1"


@pytest.mark.parametrize(
    ("X", "parameters", "said"),
    [
        (np.zeros((6, 3072)), {}, r"3,072 numbers.*say image_shape=\(32, 32, 3\) where.*\(3, 32, 32\).*CIFAR"),
        (np.zeros((6, 30)), {}, r"30 numbers, which fill no gray square: say image_shape=SHAPE"),
        (np.zeros((6, 30)), {"image_shape": (5, 7)}, r"rows of 35 numbers \(5x7\), got 30"),
        (np.zeros((6, 5, 6)), {"image_shape": (5, 6)}, r"image_shape is for rows"),
        (np.zeros((6, 3, 8, 8)), {}, r"channels come last: pass np\.moveaxis\(X, 1, -1\)"),
        (np.full((6, 8, 8), np.nan), {}, "NaN"),
        (np.full((6, 8, 8), "x"), {}, "could not convert|not compatible"),
        (np.zeros((6, 8, 8), complex), {}, "Complex"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_with_what_to_do(X: Any, parameters: Any, said: str) -> None:  # noqa: N803
    with pytest.raises(ValueError, match=said):
        fitted(X, **parameters)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.eye(6)[:, :3].astype(int) + np.array([[0, 0, 0]] * 3 + [[1, 0, 0]] * 3), r"y\.argmax\(1\)"),
        (np.array([0, "a", None, 1, 2, 3], object), r"y\.astype\(str\)"),
    ],
)
def test_d20_labels_of_the_wrong_kind_get_a_hint(labels: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PixelInput(8).fit(Plain(), WHOLE, labels)


@pytest.mark.parametrize(
    "parameters",
    [
        {"image_shape": "square"},
        {"image_shape": (3,)},
        {"image_shape": (0, 8)},
        {"image_shape": 8},
        {"image_shape": (8, 8, 4)},
        {"pixel_range": (1, 1)},
        {"pixel_range": 255},
        {"pixel_range": ("a", "b")},
    ],
)
def test_parameters_that_cannot_be(parameters: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"image_shape|pixel_range"):
        PixelInput(8, **parameters)


def test_rows_of_colours_in_both_orders() -> None:
    colours = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    assert np.array_equal(fitted(colours.reshape(6, 192), image_shape=(8, 8, 3))[1], colours)
    planes = colours.transpose(0, 3, 1, 2).reshape(6, 192)
    assert np.array_equal(fitted(planes, image_shape=(3, 8, 8))[1], colours)


TYPES = st.sampled_from(["u1", "<u2", ">u2", "<i4", ">i8", "<u8", "<f2", ">f4", "<f8", ">f8", "?"])
SHAPES = st.sampled_from(
    [(6, 64), (6, 4, 5), (6, 4, 4, 1), (6, 4, 4, 3), (6, 3, 4, 4), (6, 12), (6, 7), (6, 2, 2, 2)]
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), shape=SHAPES, kind=TYPES)
def test_any_array_is_images_or_one_clear_error(data: Any, shape: tuple[int, ...], kind: str) -> None:
    values = data.draw(arrays(np.dtype(kind), shape))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ranges as in fit, and scikit-learn's own sums of infinities
        try:
            _, pixels = fitted(values)
        except ValueError as error:
            assert "X" in str(error)  # noqa: PT017
            return
        assert pixels.dtype == np.uint8
        assert pixels.shape[:3] == (6, 8, 8)
        # As other types that hold these very values.
        _, again = fitted(values.astype(values.dtype.newbyteorder("S")))
        assert np.array_equal(again, pixels)
        if values.dtype.itemsize < 8:
            _, wide = fitted(values.astype(np.float64))
            assert np.array_equal(wide, pixels)
