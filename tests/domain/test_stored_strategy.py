"""Strategies outlive the program: rows of stores, keys and recipes of today stay what they are (FINDINGS C1)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import Field
from test_strategy import ANY

from automl_transfer.domain import strategy as module
from automl_transfer.domain.dimensions import AUGMENTED, Dimension
from automl_transfer.domain.stored_strategy import read_strategy, store_strategy
from automl_transfer.domain.strategy import DIMENSIONS, SINCE, SPACE_VERSION, Strategy
from automl_transfer.errors import UnreadableRowError

KEYS: list[tuple[dict[str, Any], str]] = [
    ({}, "bc1fdcc165b8f604"),
    ({"tune_mode": "closed_form"}, "7e15fb89831b6886"),
    ({"augmentation": "affine"}, "b323398b3951baa8"),
    ({"augmentation": "affine", "views": 3}, "ec37a4ac2e313827"),
    ({"views": 3}, "bc1fdcc165b8f604"),
    (
        {
            "augmentation": "flip_affine", "views": 10, "norm_policy": "train", "tune_mode": "full",
            "head_init": "he", "learning_rate": 0.001, "weight_decay": 0.05, "layer_decay": 1.0, "batch": 32,
            "label_smoothing": 0.1,
        },
        "3bd51c2236615268",
    ),
    (
        {
            "source": "scratch/timm/resnet18", "rest_init": "orthogonal", "tune_mode": "full",
            "optimizer": "sgd", "momentum": 0.95,
        },
        "4aee2adf1c3e8313",
    ),
    (
        {
            "truncation": 5, "pool": 4, "taps": 3, "resolution_scale": 2.0, "tune_mode": "closed_form",
            "ridge_lambda": 0.01,
        },
        "28e3800b80768834",
    ),
    (
        {"transfer_depth": 3, "freeze_depth": 0, "shrink": 0.5, "perturb": 0.001, "weight_scale": 1.25},
        "333ac1ec05487b5e",
    ),
    (
        {
            "anchor": "l2sp", "anchor_weight": 0.05, "class_weights": True, "normalise": "per_image",
            "schedule": "one_cycle", "warmup": 0.0, "clip": 1.0,
        },
        "71d1703e945bcb13",
    ),
    ({"tune_mode": "norm", "head_init": "ncm", "augmentation": "affine"}, "051027c60c795596"),
    ({"tune_mode": "closed_form", "augmentation": "affine", "views": 16}, "90a69c4625b3c702"),
]  # fmt: skip
"""As the program of commit e6cfbcb called them. A line is never changed: rankings, recipes and checkpoints hold
these keys."""

FIRST = {
    "source": "efficientnet-lite0", "truncation": 8, "pool": 1, "taps": 1, "resolution_scale": 1.0,
    "transfer_depth": 8, "tune_mode": "suffix", "freeze_depth": 4, "rest_init": "he_normal",
    "head_init": "ridge", "ridge_lambda": 1.0, "weight_scale": 1.0, "shrink": 1.0, "perturb": 0.01,
    "optimizer": "adamw", "learning_rate": 0.0001, "momentum": 0.9, "head_lr_mult": 1.0, "layer_decay": 0.75,
    "schedule": "cosine", "warmup": 0.1, "weight_decay": 0.0001, "clip": 0.0, "anchor": "none",
    "anchor_weight": 0.01, "norm_policy": "frozen", "label_smoothing": 0.0, "class_weights": False,
    "normalise": "source", "batch": 64, "augmentation": "none", "views": 8,
}  # fmt: skip
"""What rows of stores leave out. A default may change (then `FIRST_DEFAULTS` gets a line), this never does."""


@pytest.mark.parametrize(("values", "key"), KEYS, ids=lambda each: str(each)[:40])
def test_keys_of_today_stay_what_they_are(values: dict[str, Any], key: str) -> None:
    assert Strategy(**values).key() == key


def test_what_rows_leave_out_stays_what_it_was() -> None:
    assert {name: Strategy.first_defaults()[name] for name in FIRST} == FIRST
    assert not {"space", "set"} & set(Strategy.model_fields), "rows use these words"
    assert set(SINCE) == set(Strategy.model_fields) - (set(FIRST) - {"augmentation", "views"})
    assert max(SINCE.values()) <= SPACE_VERSION


@settings(max_examples=150, deadline=None)
@given(ANY)
def test_any_strategy_comes_back_from_its_row_new_or_old(strategy: Strategy) -> None:
    assert read_strategy(store_strategy(strategy)) == strategy
    assert read_strategy(strategy.model_dump_json()) == strategy  # a row of the first programs


def test_a_row_names_only_what_differs() -> None:
    row = json.loads(store_strategy(Strategy(truncation=5, weight_decay=-0.0)))
    assert row == {"space": SPACE_VERSION, "set": {"truncation": 5, "weight_decay": 0.0}}


def test_a_row_from_before_a_dimension_reads() -> None:
    old = Strategy(learning_rate=0.02).model_dump()
    for young in ("augmentation", "views", "taps", "resolution_scale"):
        del old[young]
    assert read_strategy(json.dumps(old)) == Strategy(learning_rate=0.02)


def test_a_default_that_changes_changes_no_row_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    row = store_strategy(Strategy(learning_rate=0.02))

    class Later(Strategy):
        first_defaults = classmethod(lambda cls: Strategy.first_defaults() | FIRST)  # type: ignore[assignment,misc]
        batch: int = Field(default=32, ge=1)

    monkeypatch.setattr("automl_transfer.domain.stored_strategy.Strategy", Later)
    assert read_strategy(row).batch == 64
    assert json.loads(store_strategy(Later()))["set"] == {"batch": 32}
    assert read_strategy(store_strategy(Later())).batch == 32


class _Newer(Strategy):
    blur: float = 0.0
    jitter: float = 0.0


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> type[_Newer]:
    """A program with two more dimensions, of which one has an effect beside an augmentation only."""
    for name, more in {"blur": {}, "jitter": {"when": AUGMENTED}}.items():
        monkeypatch.setitem(SINCE, name, SPACE_VERSION + 1)
        new = Dimension("", "", high=1.0, since=SPACE_VERSION + 1, name=name, default=0.0, **more)
        monkeypatch.setitem(DIMENSIONS, name, new)
    monkeypatch.setattr(module, "Strategy", _Newer)
    return _Newer


@pytest.mark.parametrize(("values", "key"), KEYS, ids=lambda each: str(each)[:40])
def test_a_new_dimension_at_its_default_changes_no_key(
    newer: type[_Newer], values: dict[str, Any], key: str
) -> None:
    assert newer(**values).key() == key
    assert newer(**values, blur=0.2).key() != key


def test_a_row_of_a_newer_program_says_so_where_it_cannot_be_read() -> None:
    with pytest.raises(UnreadableRowError, match="a newer automl-transfer wrote it") as caught:
        read_strategy('{"space": 99, "set": {"blur": 0.2}}')
    assert caught.value.newer
    assert read_strategy('{"space": 99, "set": {"truncation": 4}}') == Strategy(truncation=4)


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "[]", "{", "[" * 9000, '{"space": 2}', '{"space": 2, "set": []}', '{"space": 0, "set": {}}',
        '{"space": true, "set": {}}', '{"space": 2, "set": {"blur": 1}}', '{"truncation": 99}', '{"truncation": "5"}',
        '{"learning_rate": NaN}', '{"learning_rate": 1e999}', '{"batch": 1, "batch": 2}', '{"a": "' + "x" * 30_000 + '"}',
        '{"tune_mode": "closed_form", "head_init": "he"}', None, 7,
    ],
    ids=lambda text: str(text)[:30],
)  # fmt: skip
def test_what_no_program_can_read_is_one_error(text: object) -> None:
    with pytest.raises(UnreadableRowError, match="its strategy") as caught:
        read_strategy(text)
    assert not caught.value.newer
