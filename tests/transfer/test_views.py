"""Fixed augmented views: what they show, and that they are the same whoever asks for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_plans import plan

from automl_transfer.data.task import LoadedTask
from automl_transfer.transfer import heads
from automl_transfer.transfer.views import Augment, Views

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["affine", "flip_affine"])
def test_a_view_depends_on_row_number_and_seed_only(kind: str) -> None:
    views = Views(IMAGES, Augment(kind, 4, seed=3))  # type: ignore[arg-type]
    rows = np.array([5, 29, 0, 17])
    numbers = views.numbers(rows)
    assert views.shape == (120, 16, 16, 3)
    assert numbers.tolist()[:5] == [5, 35, 65, 95, 29]
    found = views[numbers]
    assert np.array_equal(found[::4], IMAGES[rows])  # view 0 is the image
    assert len({pixels.tobytes() for pixels in found}) == len(found)
    order = np.random.default_rng(1).permutation(len(numbers))
    assert np.array_equal(views[numbers[order]], found[order])
    for number, pixels in zip(numbers, found, strict=True):
        assert np.array_equal(views[np.array([number])][0], pixels)
    more = Views(IMAGES, Augment(kind, 16, seed=3))  # type: ignore[arg-type]
    assert np.array_equal(more[numbers], found)
    other = Views(IMAGES, Augment(kind, 4, seed=4))[numbers]  # type: ignore[arg-type]
    assert [np.array_equal(a, b) for a, b in zip(found, other, strict=True)] == [
        True,
        False,
        False,
        False,
    ] * 4


def test_views_are_shifted_turned_and_resized_a_little_and_mirrored_only_where_asked_for() -> None:
    bar = np.zeros((200, 64, 64, 1), np.uint8)
    bar[:, 12:52, 14:20] = 255  # upright, left of the middle
    across = np.arange(64)

    def middles(kind: str, view: int) -> np.ndarray:
        seen = Views(bar, Augment(kind, 3))[np.arange(200) + 200 * view][..., 0].astype(float)  # type: ignore[arg-type]
        middle: np.ndarray = (seen.sum(1) * across).sum(1) / seen.sum((1, 2))
        return middle

    for view in (1, 2):
        away = middles("affine", view) - 16.5
        assert 0.5 < away.std() < 4.0
        assert np.abs(away).max() < 10.0
        assert abs(away.mean()) < 1.0
    assert middles("flip_affine", 1).min() > 36.0
    assert middles("flip_affine", 2).max() < 28.0


def test_flat_images_stay_as_they_are() -> None:
    flat = np.full((4, 8, 8, 1), 200, np.uint8)
    views = Views(flat, Augment("flip_affine", 16))
    assert (views[views.numbers(np.arange(4))] == 200).all()


def test_a_solved_head_is_solved_on_all_views(task: LoadedTask) -> None:
    changes = {"tune_mode": "closed_form", "head_init": "ridge", "ridge_lambda": 0.1}
    solved = [
        plan(task, seed=seed, **changes, **views).model.head.linear.weight
        for seed, views in ((0, {}), (0, {"augmentation": "affine"}), (1, {"augmentation": "affine"}))
    ]
    assert not solved[0].equal(solved[1])
    assert not solved[1].equal(solved[2])
    again = plan(task, seed=1, **changes, augmentation="affine").model.head.linear.weight
    assert again.equal(solved[2])


def test_views_that_do_not_fit_in_memory_at_once_give_the_same_head(
    task: LoadedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"tune_mode": "closed_form", "head_init": "ridge", "augmentation": "affine", "views": 3}
    whole = plan(task, **changes).model.head.linear
    monkeypatch.setattr(heads, "MOST_VALUES", whole.in_features * 3 * 70)  # 70 of 200 images
    parts = plan(task, **changes).model.head.linear
    assert not parts.weight.equal(whole.weight)
    # Calibrated on the first part: another temperature, the same directions.
    alike = torch.cosine_similarity(parts.weight.flatten().double(), whole.weight.flatten().double(), dim=0)
    assert float(alike) > 1 - 1e-7
