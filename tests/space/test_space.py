"""The space: its settings, its ranges, and how a trial becomes a strategy and back."""

from __future__ import annotations

import random
from typing import Any

import pytest

from automl_transfer.domain.dimensions import Dimension
from automl_transfer.domain.spec import DimensionSetting
from automl_transfer.domain.strategy import DIMENSIONS, Strategy
from automl_transfer.domain.task import SplitSizes, Task
from automl_transfer.errors import ConfigurationError
from automl_transfer.space.space import Space
from automl_transfer.space.suggest import in_space, suggest

WHOLE: dict[str, DimensionSetting] = {
    name: "search"
    if dimension.choices or dimension.kind != "categorical"
    else ("efficientnet-lite0", "scratch")
    for name, dimension in DIMENSIONS.items()
}
ALONE = {name for name, dimension in DIMENSIONS.items() if len(dimension.choices) == 1}
"""Where there is one method of a role, there is nothing to search."""


class RandomTrial:
    """Draws uniformly, and notes what it was asked for."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.asked: dict[str, Any] = {}

    def ask(self, dimension: Dimension) -> Any:
        assert dimension.name not in self.asked, f"{dimension.name} was asked for twice"
        self.asked[dimension.name] = dimension
        if dimension.kind == "categorical":
            return self._random.choice(dimension.choices)
        value = self._random.uniform(dimension.low, dimension.high)
        return round(value) if dimension.kind == "int" else value


def test_ranges_never_move_and_only_active_dimensions_are_asked_for() -> None:
    space = Space.from_settings(WHOLE)
    ranges: dict[str, Any] = {}
    for seed in range(50):
        trial = RandomTrial(seed)
        strategy = suggest(trial.ask, space)
        assert set(trial.asked) == set(strategy.active()) - ALONE
        for name, distribution in trial.asked.items():
            assert ranges.setdefault(name, distribution) == distribution
        assert set(in_space(strategy, space)) == set(trial.asked)
        assert strategy == strategy.canonical()
    assert set(ranges) == set(DIMENSIONS) - ALONE


def test_what_is_not_named_keeps_its_default() -> None:
    space = Space.from_settings({})
    assert space.searched == ()
    assert space.default() == Strategy().canonical()
    trial = RandomTrial(0)
    assert suggest(trial.ask, space) == Strategy().canonical()
    assert trial.asked == {}


def test_fixed_narrowed_and_single_values() -> None:
    space = Space.from_settings(
        {
            "learning_rate": (1, 2),
            "head_lr_mult": (3, 3),
            "truncation": 5,
            "source": ("scratch",),
            "momentum": (0, 0.9),
            "weight_decay": 0,
        }
    )
    ranged = {dimension.name: dimension for dimension in space.searched}
    assert (ranged["learning_rate"].low, ranged["learning_rate"].high) == (1.0, 2.0)
    assert ranged["momentum"].choices == (0.0, 0.9)
    assert set(ranged) == {"learning_rate", "momentum"}
    assert space.fixed["head_lr_mult"] == 3.0
    assert space.fixed["truncation"] == 5
    assert space.fixed["weight_decay"] == 0.0
    assert space.sources == ("scratch",)


def test_default_takes_the_nearest_value_in_range() -> None:
    space = Space.from_settings(
        {"learning_rate": (0.01, 0.1), "transfer_depth": (2, 5), "normalise": ("dataset", "per_image")}
    )
    default = space.default()
    assert default.learning_rate == 0.01
    assert default.transfer_depth == 5
    assert default.normalise == "dataset"
    assert set(in_space(default, space)) == {"learning_rate", "transfer_depth", "normalise"}


def test_default_of_a_space_without_a_ridge_head_is_valid() -> None:
    space = Space.from_settings({"tune_mode": ("closed_form", "head"), "head_init": ("zero", "he")})
    assert space.default().head_init == "ridge"
    for seed in range(20):
        strategy = suggest(RandomTrial(seed).ask, space)
        assert (strategy.head_init == "ridge") == (strategy.tune_mode == "closed_form")


def test_in_space_leaves_out_what_lies_outside_or_has_no_effect() -> None:
    space = Space.from_settings(
        {"ridge_lambda": (1e-2, 1.0), "learning_rate": "search", "pool": (1, 2), "truncation": (4, 8)}
    )
    solved = Strategy(tune_mode="closed_form", ridge_lambda=100.0, pool=4, truncation=5)
    assert in_space(solved, space) == {"truncation": 5}


MISTAKES: dict[str, tuple[DimensionSetting, str]] = {
    "lr": (0.1, "must be one of the dimensions"),
    "learning_rate": ((0.1, 0.01), "low must be <= high"),
    "weight_decay": ((0.0, 0.1), "low must be > 0"),
    "freeze_depth": (1.5, "must be a whole number"),
    "transfer_depth": ((0, 9), "less than or equal to 8"),
    "truncation": ((1, 2, 3), r"must be \[low, high\]"),
    "source": ("search", "must be a name"),
    "tune_mode": (("head", "all"), "got 'all'"),
    "rest_init": ((), "at least one choice"),
    "optimizer": (("sgd", "sgd"), "must differ"),
    "batch": (True, "got True"),
    "pool": (3, "got 3"),
    "class_weights": (1, "got 1"),
    "shrink": ("half", "must be a number"),
    "perturb": (True, "must be a number"),
    "ridge_lambda": (10**400, "too large"),
    "momentum": (10**400, "too large"),  # one of several choices
    "head_lr_mult": (float("nan"), "finite"),
    "augmentation": ("mixup", "'flip_affine', got 'mixup'"),
    "views": (17, "less than or equal to 16, got 17"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_names_its_key_and_value(name: str) -> None:
    setting, rule = MISTAKES[name]
    with pytest.raises(ConfigurationError, match=rule) as caught:
        Space.from_settings({name: setting})
    assert caught.value.mistakes[0].startswith(f"space.{name}: ")


def test_all_mistakes_are_collected() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Space.from_settings({name: setting for name, (setting, _) in MISTAKES.items()})
    assert {m.split(":")[0] for m in caught.value.mistakes} == {f"space.{name}" for name in MISTAKES}


def test_a_solved_head_is_a_ridge_head() -> None:
    for heads in ("zero", ("zero", "he")):
        with pytest.raises(ConfigurationError, match=r"space\.head_init: must be ridge"):
            Space.from_settings({"tune_mode": "closed_form", "head_init": heads})
    assert Space.from_settings({"tune_mode": "closed_form", "head_init": ("zero", "ridge")}).default()


@pytest.mark.parametrize("name", DIMENSIONS)
def test_the_table_is_consistent(name: str) -> None:
    dimension = DIMENSIONS[name]
    assert dimension.effect
    assert dimension.paper
    assert dimension.range_text
    if dimension.kind == "categorical":
        assert not dimension.choices or dimension.default in dimension.choices
        ends: tuple[Any, ...] = dimension.choices or ("efficientnet-lite0",)
    else:
        assert dimension.low < dimension.high
        assert not dimension.log or dimension.low > 0
        whole = dimension.kind == "int"
        ends = tuple(int(end) if whole else end for end in (dimension.low, dimension.high))
    for end in ends:
        Strategy.model_validate({name: end}, strict=True)


def test_every_field_of_a_strategy_is_a_dimension() -> None:
    assert list(DIMENSIONS) == list(Strategy.model_fields)


def test_what_mirrors_is_not_drawn_where_it_changes_the_class(caplog: pytest.LogCaptureFixture) -> None:
    digits = Task(
        name="digits", fingerprint="0" * 64, classes=("6", "9"), splits=SplitSizes(train=1, validation=1, test=1),
        channels=3, resolution=128, channel_mean=(0.5,) * 3, channel_std=(0.2,) * 3, label_preserving=(),
    )  # fmt: skip
    photographs = digits.model_copy(update={"label_preserving": None})
    space = Space.from_settings({"mirror": "search", "augmentation": "search", "crop": "search"})
    assert space.suited(photographs) == space
    suited = space.suited(digits)
    assert [(d.name, d.choices) for d in suited.searched] == [
        ("augmentation", ("none", "affine")), ("crop", ())
    ]  # fmt: skip
    assert suited.fixed["mirror"] is False
    assert caplog.text == ""
    forced = Space.from_settings({"mirror": True})
    assert forced.suited(digits).fixed["mirror"] is True
    forced.warn_of(photographs)
    assert caplog.text == ""
    forced.warn_of(digits)
    assert "mirror is True, and mirrored images of digits may be of another class" in caplog.text
    small = photographs.model_copy(update={"resolution": 32})
    assert not small.may("mirror")
    assert small.model_copy(update={"label_preserving": ("mirror",)}).may("mirror")
