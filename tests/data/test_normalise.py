"""Normalisation constants."""

from __future__ import annotations

from automl_transfer.domain.normalisation import chosen_constants
from automl_transfer.domain.task import SplitSizes, Task


def task(channels: int, std: float = 0.25) -> Task:
    return Task(
        name="t",
        fingerprint="0" * 64,
        classes=("a", "b"),
        splits=SplitSizes(train=1, validation=1, test=0),
        channels=3 if channels == 3 else 1,
        resolution=32,
        channel_mean=(0.4,) * channels,
        channel_std=(std,) * channels,
    )


def test_source_constants_fit_the_channels() -> None:
    mean, std = (0.3, 0.4, 0.5), (0.1, 0.2, 0.3)
    assert chosen_constants("source", task(3), mean, std) == (mean, std)
    gray = chosen_constants("source", task(1), mean, std)
    assert gray is not None
    assert [round(value[0], 9) for value in gray] == [0.4, 0.2]
    assert chosen_constants("source", task(3), (0.5,), (0.2,)) == ((0.5,) * 3, (0.2,) * 3)


def test_dataset_and_per_image() -> None:
    assert chosen_constants("dataset", task(3), (0.5,) * 3, (0.5,) * 3) == ((0.4,) * 3, (0.25,) * 3)
    assert chosen_constants("per_image", task(1), (0.5,) * 3, (0.5,) * 3) is None


def test_constant_images_do_not_divide_by_zero() -> None:
    found = chosen_constants("dataset", task(1, std=0.0), (0.5,) * 3, (0.5,) * 3)
    assert found == ((0.4,), (1.0 / 255.0,))
