"""How long a trial trains: what a study names, or enough for its data."""

from __future__ import annotations

import pytest

from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.spec import SearchSpec


@pytest.mark.parametrize("images", [1, 7, 200, 1078, 2697, 50_000])
def test_without_a_name_it_is_long_enough_for_the_data_and_no_longer(images: int) -> None:
    """BiT's rule: 500 steps at least, counted in steps of 32 images."""
    found = SearchSpec().horizon(images)
    seen = found.images(images, 32)
    assert seen >= 500 * 32
    assert found.passes == 1 or seen - found.epochs * images < 500 * 32


@pytest.mark.parametrize("batch", [16, 64, 256])
def test_named_epochs_are_passes_and_named_steps_are_steps_of_any_batch(batch: int) -> None:
    epochs, steps = SearchSpec(max_epochs=10), SearchSpec(max_steps=90)
    assert epochs.horizon(300) == Horizon(10)
    assert epochs.horizon(300).images(300, batch) == 3000
    assert steps.horizon(300) == Horizon(9, steps=10)
    assert steps.horizon(300).images(300, batch) == 90 * batch
    assert SearchSpec(max_steps=90, max_epochs=4).horizon(300) == Horizon(4, steps=23)
    assert SearchSpec(max_steps=2).horizon(300) == Horizon(2, steps=1)


@pytest.mark.parametrize("max_epochs", [None, 1, 4, 100])
@pytest.mark.parametrize("asked", [1, 2, 8, 9, 10, 19, 50, 101, 600, 12_345])
def test_steps_are_those_that_were_asked_for_rounded_up_to_whole_epochs(
    asked: int, max_epochs: int | None
) -> None:
    """Ten became eighteen, and 101 of 100 epochs 200."""
    found = SearchSpec(max_steps=asked, max_epochs=max_epochs).horizon(300)
    assert found.steps is not None
    assert found.epochs <= (max_epochs or 9)
    assert asked <= found.images(300, 1) < asked + found.steps


def test_a_rung_beyond_the_horizon_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"min_epochs must be <= the epochs that max_steps = 2 make \(2\), got 3"
    ):
        SearchSpec(max_steps=2, min_epochs=3)
    with pytest.raises(ValueError, match=r"that max_steps = 10 make \(5\), got 6"):
        SearchSpec(max_steps=10, min_epochs=6)
    assert SearchSpec(max_steps=10).rungs == (2,)


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 8, 9, 11, 27])
def test_nothing_is_compared_before_a_third_of_the_horizon(epochs: int) -> None:
    search = SearchSpec(max_epochs=epochs)
    assert epochs <= 3 * search.first_rung < epochs + 3
    assert all(3 * rung >= epochs for rung in search.rungs)
