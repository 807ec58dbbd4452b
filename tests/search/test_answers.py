"""Which strategies first answers are made of, and that what a study fixes is fixed for them, too."""

from __future__ import annotations

import pytest

from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import SplitSizes, Task
from automl_transfer.search.answers import (
    FINETUNED,
    JUDGED_LARGER,
    finetuned_from,
    fixed_by,
    judged_larger,
    keeps,
    tuned_from,
)
from automl_transfer.space.space import Space
from automl_transfer.space.study_file import PRESETS, preset_path, read_study

NINE = Horizon(9)
SOLVED = Strategy(tune_mode="closed_form", truncation=6, pool=2)


def task(train: int, side: int, channels: int = 3) -> Task:
    return Task(
        name="photos",
        fingerprint="0" * 64,
        classes=("a", "b"),
        splits=SplitSizes(train=train, validation=100, test=100),
        channels=channels,
        resolution=side,
        channel_mean=(0.5,) * channels,
        channel_std=(0.2,) * channels,
    )


def whole(settings: dict[str, object], images: Task, horizon: Horizon = NINE) -> Strategy | None:
    return finetuned_from(SOLVED, Space.from_settings(settings), settings, images, horizon)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_tries_to_fine_tune_the_whole_network_on_photographs(preset: str) -> None:
    spec = read_study(preset_path(preset))
    found = whole(dict(spec.space), task(3000, 128), spec.search.horizon(3000))
    assert found is not None
    assert {name: getattr(found, name) for name in FINETUNED} == FINETUNED
    assert (found.truncation, found.pool, found.transfer_depth) == (8, 1, 8)
    assert (found.augmentation, found.crop, found.mirror) == ("none", 0.5, True)
    settings = dict(spec.space)
    larger = judged_larger(found, fixed_by(settings, Space.from_settings(settings)))
    assert larger == found.model_copy(update=dict(JUDGED_LARGER))


def test_small_or_few_images_are_not_fine_tuned_whole() -> None:
    assert whole({}, task(1000, 32, channels=1)) is None
    assert whole({}, task(100, 224)) is None
    many = whole({}, task(3000, 32, channels=1))
    assert many is not None
    assert not many.mirror  # digits and letters are not mirrored
    assert whole({}, task(100, 224), Horizon(9, passes=18)) is None
    assert (
        whole({}, task(10, 224), Horizon(9, steps=17)) is None
    )  # of 10 images a step, however many it takes


def test_a_study_that_names_dimensions_bounds_the_fine_tuned_answer() -> None:
    found = whole({"learning_rate": (1e-5, 3e-4), "mirror": False}, task(3000, 128))
    assert found is not None
    assert (found.learning_rate, found.mirror) == (3e-4, False)
    assert whole({"tune_mode": ("head", "suffix")}, task(3000, 128)) is None
    # It is judged on larger images where these may be larger than the task states.
    assert judged_larger(found, {"batch": 32}) is not None
    for fixed in ({"resolution_scale": 1.0}, {"train_scale": 1.0}, {"detail": False}):
        assert judged_larger(found, fixed) is None
    assert judged_larger(found.model_copy(update={"crop": 1.0}), {}) is None


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_what_trains_weighs_classes_where_the_metric_counts_them_alike(metric: str) -> None:
    images = task(3000, 128).model_copy(update={"metric": metric})
    for settings in ({}, {"class_weights": False}, {"class_weights": (False, True)}):
        found = whole(settings, images)
        assert found is not None
        tuned = tuned_from(SOLVED, Space.from_settings(settings), settings, metric)
        wanted = metric != "accuracy" and settings.get("class_weights") is not False
        assert (found.class_weights, tuned.class_weights) == (wanted, wanted)


def test_what_a_study_fixes_is_fixed_for_first_answers() -> None:
    """C9."""
    settings = {"pool": 1, "tune_mode": ("suffix", "full"), "learning_rate": 1e-3}
    fixed = fixed_by(settings, Space.from_settings(settings))
    assert fixed == {"pool": 1, "learning_rate": 1e-3}
    assert not keeps(SOLVED, fixed)
    assert keeps(SOLVED.model_copy(update={"pool": 1}), fixed)  # a solved head has no learning rate
