"""`TransferClassifier` among scikit-learn's tools, and what the essay's ModelMigration could do."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from automl_transfer.api import TransferClassifier
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import ConfigurationError, UserError

SMALL = Strategy(truncation=2, pool=4, tune_mode="closed_form")
DIGITS = load_digits()
IMAGES, LABELS = DIGITS.images[:400], DIGITS.target[:400]
LATER, TRUTH = DIGITS.images[400:800], DIGITS.target[400:800]

NOT_FOR_IMAGES = {
    "check_classifiers_train": "its data are points of few coordinates: as images of two pixels a side a "
    "network tells less than .83 of them apart",
    "check_methods_subset_invariance": "convolutions of another batch size round differently: "
    "probabilities differ by about 5e-6, the check allows 1e-7",
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore:X has numbers from .* no usual range:UserWarning")
@parametrize_with_checks(
    [TransferClassifier(SMALL, image_shape="padded", random_state=0)],
    expected_failed_checks=lambda estimator: NOT_FOR_IMAGES,
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_the_profile_reads_digits_in_a_pipeline_and_in_cross_validation() -> None:
    bright = FunctionTransformer(lambda x: np.rint(x * 255 / 16).astype(np.uint8))
    pipeline = make_pipeline(bright, TransferClassifier(random_state=0))
    assert pipeline.fit(IMAGES, LABELS).score(LATER, TRUTH) > 0.9
    probabilities = pipeline.predict_proba(LATER[:5])
    assert probabilities.shape == (5, 10)
    assert np.allclose(probabilities.sum(axis=1), 1.0)
    found = cross_val_score(clone(TransferClassifier(SMALL, random_state=0)), IMAGES, LABELS, cv=3)
    assert found.min() > 0.85


def test_weights_count_as_repetitions() -> None:
    weights = 1 + np.arange(100) % 3
    weights[::10] = 0
    one = TransferClassifier(SMALL, random_state=0).fit(IMAGES[:100], LABELS[:100], sample_weight=weights)
    images, labels = IMAGES[:100].repeat(weights, axis=0), LABELS[:100].repeat(weights)
    other = TransferClassifier(SMALL, random_state=0).fit(images, labels)
    np.testing.assert_allclose(one.predict_proba(LATER), other.predict_proba(LATER), atol=1e-6)
    for wrong, message in (
        (weights - 1, "got -1 for image 0"),
        (weights[1:], "one number an image"),
        ([0] * 100, "zero"),
    ):
        with pytest.raises(ValueError, match=message):
            TransferClassifier(SMALL).fit(IMAGES[:100], LABELS[:100], sample_weight=wrong)


def test_rows_of_pixels_are_the_same_images() -> None:
    flat = TransferClassifier(SMALL, random_state=0).fit(IMAGES.reshape(400, 64), LABELS)
    square = TransferClassifier(SMALL, random_state=0).fit(IMAGES, LABELS)
    assert np.array_equal(flat.predict_proba(LATER.reshape(400, 64)), square.predict_proba(LATER))


def test_d1_digits_are_the_same_images_as_any_type() -> None:
    """Fitted as float64 and scored as float32 they were .11, fitted as float32 .58."""
    whole = TransferClassifier(SMALL, random_state=0).fit(IMAGES, LABELS)
    wanted = whole.predict_proba(LATER)
    assert whole.score(LATER, TRUTH) > 0.7
    assert str(whole.pixel_range_) == "0 to 16"
    for kind in (np.float32, np.uint8, np.uint16, ">i8"):
        assert np.array_equal(whole.predict_proba(LATER.astype(kind)), wanted)
    tensors = TransferClassifier(SMALL, random_state=0).fit(torch.from_numpy(IMAGES).float(), LABELS)
    assert np.array_equal(tensors.predict_proba(torch.from_numpy(LATER)), wanted)
    unit = TransferClassifier(SMALL, random_state=0).fit((IMAGES / 16).astype(np.float32), LABELS)
    assert np.array_equal(unit.predict_proba(LATER / 16), wanted)
    assert str(unit.predictor_.description.pixel_range) == "0 to 1"
    with pytest.raises(ValueError, match="in the range of the others, 0 to 1, got 0 to 16"):
        unit.predict(LATER)
    explored = TransferClassifier(SMALL).explore_data((IMAGES / 16).astype(np.float32), LABELS)
    assert explored.task.channel_mean == pytest.approx((IMAGES.mean() / 16,), abs=0.01)
    assert str(explored.task.pixel_range) == "0 to 1"


def test_a_strategy_that_trains_is_the_same_again_and_survives_a_pickle() -> None:
    fields = {
        "truncation": 2,
        "tune_mode": "suffix",
        "freeze_depth": 8,
        "head_init": "zero",
        "learning_rate": 1e-2,
    }
    names = np.array(["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"])
    one = TransferClassifier(fields, epochs=2, random_state=3).fit(IMAGES, names[LABELS])
    two = TransferClassifier(fields, epochs=2, random_state=3).fit(IMAGES, names[LABELS])
    assert np.array_equal(one.predict_proba(LATER), two.predict_proba(LATER))
    assert np.array_equal(pickle.loads(pickle.dumps(one)).predict(LATER), one.predict(LATER))
    assert set(one.predict(LATER)) <= set(names)
    assert one.strategy_.learning_rate == 1e-2


def test_it_trains_in_the_precision_that_is_asked_for() -> None:
    fields = {"truncation": 2, "tune_mode": "full", "norm_policy": "frozen", "learning_rate": 1e-5}
    plain = TransferClassifier(fields, epochs=1, random_state=0)
    mixed = clone(plain).set_params(precision="bf16")
    one, other = (each.fit(IMAGES, LABELS).predict_proba(LATER) for each in (plain, mixed))
    assert not np.array_equal(one, other)
    assert np.abs(one - other).mean() < 0.05


def test_parameters_can_be_searched_by_scikit_learn() -> None:
    grid = GridSearchCV(
        TransferClassifier(random_state=0), {"strategy": [SMALL, SMALL.model_copy(update={"pool": 1})]}, cv=2
    )
    grid.fit(IMAGES, LABELS)
    assert grid.best_params_["strategy"].pool == 4


def test_a_search_under_a_budget() -> None:
    found = TransferClassifier("search", trials=2, epochs=1, random_state=0, precision="bf16")
    found.fit(IMAGES, LABELS)
    assert found.recipe_.provenance.trial in (0, 1)
    assert found.recipe_.training.conditions["precision"] == "bf16"
    assert found.recipe_.metrics.test is None
    assert found.recipe_.task.splits.validation == 80
    assert str(found.recipe_.task.pixel_range) == str(found.predictor_.description.pixel_range) == "0 to 16"
    assert found.score(LATER, TRUTH) > 0.9


def test_colour_images_and_their_classes() -> None:
    rng = np.random.default_rng(0)
    colours = np.array([[200, 30, 30], [30, 200, 30]])
    images = (colours[np.arange(40) % 2][:, None, None, :] + rng.integers(-20, 20, (40, 20, 24, 3))).astype(
        np.uint8
    )
    found = TransferClassifier(SMALL).fit(images, np.arange(40) % 2)
    assert found.score(images, np.arange(40) % 2) == 1.0
    with pytest.raises(ValueError, match=r"images of the shape \(20, 24, 3\) as in fit, got \(20, 20, 3\)"):
        found.predict(images[:, :, :20])


def test_a_fit_that_fails_leaves_the_one_before() -> None:
    """Classes of the later fit were the labels of the earlier network's answers."""
    fitted = TransferClassifier(SMALL, random_state=0).fit(IMAGES, np.where(LABELS < 5, "a", "b"))
    before = fitted.predict(LATER)
    fitted.set_params(strategy="profile", source="no/such")
    with pytest.raises(UserError, match="no/such"):
        fitted.fit(IMAGES.reshape(-1, 64), np.where(LABELS < 3, "c", "d"))
    assert np.array_equal(fitted.predict(LATER), before)
    assert fitted.n_features_in_ == 8
    assert fitted.strategy_ == SMALL


def test_a_strategy_that_the_source_cannot_take_is_refused() -> None:
    """It was trained without an effect: norm layers follow every weight."""
    vain = TransferClassifier({"tune_mode": "full", "weight_scale": 0.5, "source": "efficientnet-lite0"})
    for door in (vain.fit, vain.generate_target_model):
        with pytest.raises(ConfigurationError, match=r"weight_scale.* efficientnet-lite0"):
            door(IMAGES, LABELS)


def test_the_data_are_explored_before_anything_is_trained() -> None:
    twice = np.concatenate([IMAGES[:20], IMAGES[:1]])
    estimator = TransferClassifier(SMALL, random_state=0).fit(IMAGES[:100], LABELS[:100] % 2)
    found = estimator.explore_data(twice, np.r_[LABELS[:20], [5]])
    assert list(estimator.classes_) == [0, 1]
    assert found.images == 21
    assert found.duplicates.conflicting == 1
    assert [each.name for each in found.classes] == [str(digit) for digit in range(10)]


def test_the_target_model_is_the_networks_first_groups_with_a_new_head() -> None:
    model = TransferClassifier(SMALL, random_state=0).generate_target_model(IMAGES, LABELS)
    assert len(model.groups) == 2
    assert model.head.linear.out_features == 10
    with torch.no_grad():
        assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_booleans_are_black_and_white() -> None:
    fitted = TransferClassifier(SMALL, random_state=0).fit(IMAGES, LABELS)
    bright = np.greater(IMAGES, 8)
    white = np.where(bright, fitted.pixel_range_.high, fitted.pixel_range_.low)
    assert np.array_equal(fitted.predict_proba(bright), fitted.predict_proba(white))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"strategy": {"depth": 3}}, "depth: unknown field"),
        ({"strategy": "serach"}, "'profile', 'search', a Strategy, .* got 'serach'"),
        ({"strategy": 3}, "strategy must be"),
        ({"held_out": 1.0}, "held_out must be"),
        ({"held_out": "x"}, "held_out must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"epochs": 2.5}, "epochs must be a whole number >= 1, got 2.5"),
        ({"resolution": 0}, "resolution must be None or a whole number in 8..4096, got 0"),
        ({"resolution": "64"}, "resolution must be"),
        ({"random_state": True}, "random_state must be a whole number"),
        ({"random_state": 2**64}, "random_state must lie in"),
        ({"random_state": -1}, "random_state must lie in"),
        ({"image_shape": (3,)}, "image_shape"),
        ({"device": "abacus"}, "abacus"),
        ({"precision": "int8"}, "precision must be one of fp32, bf16, fp16, got 'int8'"),
    ],
)  # fmt: skip
def test_impossible_parameters(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        TransferClassifier(**{"strategy": SMALL, **parameters}).fit(IMAGES, LABELS)


@pytest.mark.parametrize("shape", [(4, 8, 8, 2), (4, 2, 8, 8, 3)])
def test_what_are_no_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="X must be images"):
        TransferClassifier(SMALL).fit(np.zeros(shape, np.uint8), [0, 1, 0, 1])
