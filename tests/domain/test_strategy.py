"""The strategy: a frozen value that says what it does, and is equal to what does the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from automl_transfer.domain.dimensions import groups_at
from automl_transfer.domain.records import (
    EpochResult,
    StopKind,
    StopReason,
    TrialOutcome,
    TrialRecord,
    TrialState,
    order_among,
)
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.domain.strategy import DIMENSIONS, Strategy, is_active

EIGHTHS = st.integers(0, 8)
ONE = st.floats(0.0, 1.0)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "source": st.sampled_from(["efficientnet-lite0", "scratch", "scratch/timm/resnet18", "timm/vit 模型"]),
    "truncation": st.integers(1, 8),
    "pool": st.sampled_from([1, 2, 4]),
    "taps": st.integers(1, 8),
    "resolution_scale": st.floats(0.25, 4.0),
    "transfer_depth": EIGHTHS,
    "tune_mode": st.sampled_from(
        ["head", "suffix", "full", "body", "norm", "bias", "surgical", "lora", "adapter"]
    ),
    "freeze_depth": EIGHTHS,
    "rest_init": st.text(min_size=1, max_size=64).filter(lambda s: s.isprintable()),
    "head_init": st.sampled_from(["zero", "he", "xavier", "ncm", "ridge"]),
    "ridge_lambda": st.floats(1e-6, 1e6),
    "weight_scale": st.floats(0.1, 10.0),
    "shrink": ONE,
    "perturb": ONE,
    "optimizer": st.sampled_from(["sgd", "adamw"]),
    "learning_rate": st.floats(0.0, 10.0, exclude_min=True),
    "momentum": st.floats(0.0, 1.0, exclude_max=True),
    "head_lr_mult": st.floats(0.01, 1000.0),
    "layer_decay": st.floats(0.0, 1.0, exclude_min=True),
    "schedule": st.sampled_from(["cosine", "constant", "step", "one_cycle"]),
    "warmup": st.floats(0.0, 1.0, exclude_max=True),
    "weight_decay": ONE,
    "clip": st.floats(0.0, 1e4),
    "anchor": st.sampled_from(["none", "l2sp", "delta", "bss"]),
    "anchor_weight": st.floats(0.0, 10.0),
    "norm_policy": st.sampled_from(["frozen", "adapt", "train"]),
    "label_smoothing": st.floats(0.0, 1.0, exclude_max=True),
    "class_weights": st.booleans(),
    "normalise": st.sampled_from(["source", "dataset", "per_image"]),
    "batch": st.integers(1, 65536),
    "augmentation": st.sampled_from(["none", "affine", "flip_affine"]),
    "views": st.integers(2, 16),
    "mix": st.sampled_from(["none", "mixup", "of a plugin"]),
    "mix_alpha": st.floats(0.0, 10.0, exclude_min=True),
    "phases": st.sampled_from(["one", "of a plugin"]),
    "prepare": st.sampled_from(["none", "denoise", "whiten", "of a plugin"]),
    "prepare_steps": st.integers(1, 100_000),
    "block": st.sampled_from(["first", "middle", "last"]),
    "rank": st.integers(1, 256),
    "adapter_width": st.integers(1, 1024),
    "detail": st.booleans(),
    "head_rate": st.sampled_from(["plain", "fan_in"]),
    "crop": st.floats(0.05, 1.0),
    "mirror": st.booleans(),
    "distort": st.sampled_from(["none", "trivial", "of a plugin"]),
    "distort_strength": st.floats(0.0, 1.0, exclude_min=True),
    "erasing": ONE,
    "source_prune": st.floats(0.0, 1.0, exclude_max=True),
    "stoch_norm": ONE,
    "dropout": st.floats(0.0, 1.0, exclude_max=True),
    "drop_path": st.floats(0.0, 1.0, exclude_max=True),
    "ema": st.floats(0.0, 1.0, exclude_max=True),
    "wise_alpha": ONE,
    "gce": ONE,
    "input_noise": ONE,
    "adversarial": ONE,
    "adversarial_steps": st.integers(1, 50),
    "train_scale": st.floats(0.25, 1.0),
}
TRAINED = st.builds(Strategy, **FIELDS)
SOLVED = st.builds(Strategy, **{**FIELDS, "tune_mode": st.just("closed_form"), "head_init": st.just("ridge")})
ANY = st.one_of(TRAINED, SOLVED)


def test_every_field_is_sampled_here() -> None:
    assert set(FIELDS) == set(Strategy.model_fields)


@settings(max_examples=150, deadline=None)
@given(ANY)
def test_any_strategy_round_trips_and_has_words(strategy: Strategy) -> None:
    assert Strategy.model_validate_json(strategy.model_dump_json()) == strategy
    assert strategy.source in strategy.describe()
    assert "\n" not in strategy.describe()


@settings(max_examples=150, deadline=None)
@given(ANY)
def test_canonical_is_idempotent_and_does_the_same(strategy: Strategy) -> None:
    canonical = strategy.canonical()
    assert canonical.canonical() == canonical
    assert canonical.active() == strategy.active()
    assert canonical.key() == strategy.key()
    for name in set(Strategy.model_fields) - set(strategy.active()):
        assert getattr(canonical, name) == Strategy.model_fields[name].default


@settings(max_examples=150, deadline=None)
@given(ANY, st.sampled_from(sorted(FIELDS)), st.data())
def test_keys_are_equal_iff_active_values_are(strategy: Strategy, name: str, data: st.DataObject) -> None:
    change = {name: data.draw(FIELDS[name])}
    if strategy.tune_mode == "closed_form" and name == "head_init":
        change = {}
    other = Strategy.model_validate(strategy.model_dump() | change)
    assert (other.key() == strategy.key()) == (other.active() == strategy.active())


def test_both_zeros_have_one_key() -> None:
    assert Strategy(weight_decay=-0.0).key() == Strategy(weight_decay=0.0).key()


def test_strategies_of_before_there_were_views_keep_their_keys() -> None:
    assert Strategy().key() == "bc1fdcc165b8f604"
    assert Strategy(augmentation="affine").key() != Strategy().key()


def test_strategy_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Strategy().learning_rate = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transfer_depth": 9}, "less than or equal to 8"),
        ({"transfer_depth": -1}, "greater than or equal to 0"),
        ({"truncation": 0}, "greater than or equal to 1"),
        ({"freeze_depth": 2.5}, "valid integer"),
        ({"pool": 3}, "1, 2 or 4"),
        ({"tune_mode": "all"}, "'head'"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"weight_decay": float("inf")}, "finite"),
        ({"momentum": 1.0}, "less than 1"),
        ({"source": ""}, "at least 1"),
        ({"batch": 0}, "greater than or equal to 1"),
        ({"lr": 1.0}, "not permitted"),
        ({"augmentation": "mixup"}, "'none', 'affine' or 'flip_affine'"),
        ({"views": 0}, "greater than or equal to 2"),
        ({"views": 17}, "less than or equal to 16"),
        ({"tune_mode": "closed_form", "head_init": "zero"}, "head_init must be ridge"),
        (
            {"tune_mode": "full", "anchor": "co_tuning", "truncation": 5},
            "truncation and transfer_depth must be 8 where anchor is co_tuning, got 5 and 8",
        ),
        ({"source_prune": 1.0}, "less than 1"),
        ({"ema": 1.0}, "less than 1"),
        ({"wise_alpha": 1.5}, "less than or equal to 1"),
    ],
)
def test_bad_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Strategy.model_validate(values)


@given(st.integers(1, 200))
def test_depths_are_monotone_and_reach_both_ends(groups: int) -> None:
    depths = [groups_at(k, groups) for k in range(9)]
    assert depths[0] == 0
    assert depths[-1] == groups
    assert depths == sorted(depths)


@pytest.mark.parametrize(
    ("dimension", "active", "inactive"),
    [
        ("freeze_depth", {"tune_mode": "suffix"}, {"tune_mode": "full"}),
        ("freeze_depth", {"tune_mode": "suffix"}, {"tune_mode": "suffix", "transfer_depth": 0}),
        ("freeze_depth", {"tune_mode": "suffix"}, {"tune_mode": "suffix", "source": "scratch"}),
        ("transfer_depth", {}, {"source": "scratch/timm/resnet18"}),
        ("rest_init", {"transfer_depth": 7}, {"transfer_depth": 8}),
        ("rest_init", {"source": "scratch"}, {"transfer_depth": 8}),
        ("perturb", {"shrink": 0.5}, {"shrink": 1.0}),
        ("perturb", {"shrink": 0.5}, {"shrink": 0.5, "transfer_depth": 0}),
        ("anchor", {"tune_mode": "full"}, {"tune_mode": "head"}),
        ("anchor", {"tune_mode": "norm"}, {"tune_mode": "norm", "transfer_depth": 0}),
        ("anchor_weight", {"tune_mode": "full", "anchor": "l2sp"}, {"tune_mode": "full"}),
        ("momentum", {"optimizer": "sgd"}, {"optimizer": "adamw"}),
        ("warmup", {"schedule": "step"}, {"schedule": "one_cycle"}),
        ("ridge_lambda", {"head_init": "ridge"}, {"head_init": "he"}),
        ("head_lr_mult", {"tune_mode": "bias"}, {"tune_mode": "body"}),
        ("layer_decay", {"tune_mode": "body"}, {"tune_mode": "norm"}),
        ("learning_rate", {}, {"tune_mode": "closed_form"}),
        ("batch", {}, {"tune_mode": "closed_form"}),
        ("views", {"augmentation": "affine", "tune_mode": "closed_form"}, {}),
        ("source_prune", {}, {"transfer_depth": 0}),
        ("stoch_norm", {"norm_policy": "train"}, {"norm_policy": "frozen"}),
        ("stoch_norm", {"norm_policy": "train"}, {"norm_policy": "train", "tune_mode": "head"}),
        ("dropout", {"tune_mode": "head"}, {"tune_mode": "closed_form"}),
        ("drop_path", {"source": "scratch"}, {"tune_mode": "head"}),
        ("ema", {"tune_mode": "head"}, {"tune_mode": "closed_form"}),
        ("wise_alpha", {"head_init": "ncm"}, {"head_init": "he"}),
        ("wise_alpha", {}, {"tune_mode": "head"}),
        ("wise_alpha", {}, {"source": "scratch"}),
        ("gce", {"tune_mode": "head"}, {"tune_mode": "closed_form"}),
        ("adversarial_steps", {"adversarial": 0.03}, {}),
    ],
)
def test_conditions(dimension: str, active: dict[str, Any], inactive: dict[str, Any]) -> None:
    assert dimension in Strategy(**active).active()
    assert dimension not in Strategy(**inactive).active()


def test_conditions_are_about_fields_and_the_rest_is_always_active() -> None:
    assert list(DIMENSIONS) == list(Strategy.model_fields)
    always = {name for name, dimension in DIMENSIONS.items() if not dimension.condition}
    assert all(is_active(name, {}) for name in always)
    assert "source" in always
    with pytest.raises(KeyError):
        is_active("learning_rate", {})


def test_records_round_trip() -> None:
    epochs = tuple(
        EpochResult(
            epoch=number,
            train_loss=None if number == 0 else 0.7,
            validation_loss=loss,
            accuracy=accuracy,
            balanced_accuracy=accuracy / 2,
            macro_f1=0.1,
            learning_rate=1e-3,
            seconds=0.5,
        )
        for number, (accuracy, loss) in enumerate([(0.5, 1.0), (0.8, 0.6), (0.8, 0.5), (0.8, 0.5)])
    )
    record = TrialRecord(
        trial_id=7,
        number=3,
        root=1,
        attempt=2,
        state=TrialState.COMPLETE,
        value=0.8,
        strategy=Strategy(learning_rate=0.01),
        stop=StopReason(kind=StopKind.COMPLETED),
        outcome=TrialOutcome(parameters=3, best_epoch=2),
        epochs=epochs,
    )
    assert TrialRecord.model_validate_json(record.model_dump_json()) == record
    assert EpochResult.model_validate_json(epochs[0].model_dump_json()) == epochs[0]
    assert record.best_epoch("accuracy") == epochs[2]
    assert record.seconds == 2.0
    assert epochs[1].score("balanced_accuracy") == 0.4
    assert record.model_copy(update={"epochs": ()}).best_epoch("accuracy") is None
    assert str(StopReason(kind=StopKind.DATA, detail="gone")) == "data: gone"
    assert [s for s in TrialState if s.finished] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]


def test_equal_scores_are_told_apart_by_the_loss_that_calibration_leaves() -> None:
    """A loss that label smoothing makes larger loses no tie; where an epoch has no such loss, none is used."""
    sure, smooth = (
        EpochResult(
            epoch=number, train_loss=0.1, validation_loss=loss, calibrated_loss=after, accuracy=0.894,
            balanced_accuracy=0.894, macro_f1=0.894, learning_rate=1e-3, seconds=1.0,
        )
        for number, loss, after in ((1, 0.40, 0.38), (2, 0.55, 0.33))
    )  # fmt: skip
    assert max((sure, smooth), key=order_among((sure, smooth), "accuracy")) == smooth
    before = sure.model_copy(update={"calibrated_loss": None})
    assert max((before, smooth), key=order_among((before, smooth), "accuracy")) == before
    assert "calibrated_loss" not in before.model_dump_json()
    worse = smooth.model_copy(update={"accuracy": 0.893, "calibrated_loss": 0.1})
    assert max((sure, worse), key=order_among((sure, worse), "accuracy")) == sure
    record = TrialRecord(trial_id=1, number=0, root=0, state=TrialState.COMPLETE, epochs=(sure, smooth))
    assert record.best_epoch("accuracy") == smooth


def test_losses_that_are_not_numbers_are_no_epochs() -> None:
    with pytest.raises(ValidationError, match="finite"):
        EpochResult(
            epoch=1, train_loss=float("nan"), validation_loss=1.0, accuracy=0.5, balanced_accuracy=0.5,
            macro_f1=0.5, learning_rate=0.1, seconds=1.0,
        )  # fmt: skip


def test_study_spec_round_trips_and_signs_its_space() -> None:
    space = {"source": ("a", "b"), "learning_rate": (1e-4, 1e-2), "class_weights": True, "batch": 16}
    spec = StudySpec(name="名", task=TaskSpec(dataset="digits"), space=space)
    again = StudySpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.space_signature() == spec.space_signature()
    turned = spec.model_copy(update={"space": dict(reversed(space.items()))})
    assert turned.space_signature() == spec.space_signature()
    other = spec.model_copy(update={"space": {**space, "batch": 32}})
    assert other.space_signature() != spec.space_signature()


def test_rungs_and_splits_must_fit() -> None:
    with pytest.raises(ValidationError, match="min_epochs must be <= max_epochs"):
        SearchSpec(min_epochs=5, max_epochs=3)
    with pytest.raises(ValidationError, match=r"must be 1, got 1\.1"):
        TaskSpec.model_validate({"dataset": "d", "splits": {"train": 0.7, "validation": 0.2, "test": 0.2}})
    with pytest.raises(ValidationError, match="without slashes, got 'a/b'"):
        StudySpec(name="a/b", task=TaskSpec(dataset="d"))
