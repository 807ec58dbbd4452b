"""Who is in which split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_transfer.data.splits import assign, few_images
from automl_transfer.domain.spec import SplitFractions
from automl_transfer.domain.task import SPLITS
from automl_transfer.errors import DataError

FRACTIONS = SplitFractions()


def labels_of(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=6),
    parts=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9)),
    seed=st.integers(0, 1000),
)
def test_every_row_is_in_one_split_and_every_class_in_each(
    counts: list[int], parts: tuple[int, int, int], seed: int
) -> None:
    train, validation, test = (part / sum(parts) for part in parts)
    labels = labels_of(counts)
    names = [str(i) for i in range(len(counts))]
    indices = assign(labels, names, SplitFractions(train=train, validation=validation, test=test), seed)
    together = np.concatenate([indices[split] for split in SPLITS])
    assert sorted(together) == list(range(len(labels)))
    for split, part in zip(SPLITS, parts, strict=True):
        assert (np.diff(indices[split]) > 0).all()
        if part:
            assert set(labels[indices[split]]) == set(range(len(counts)))
        else:
            assert len(indices[split]) == 0


def test_fractions_hold_in_each_class() -> None:
    labels = labels_of([100, 50, 200])
    indices = assign(labels, ["a", "b", "c"], FRACTIONS, 3)
    assert np.bincount(labels[indices["train"]]).tolist() == [60, 30, 120]
    assert np.bincount(labels[indices["test"]]).tolist() == [20, 10, 40]


def test_the_seed_decides() -> None:
    labels = labels_of([50, 50])
    first, again, other = (assign(labels, ["a", "b"], FRACTIONS, seed)["test"] for seed in (0, 0, 1))
    assert (first == again).all()
    assert not np.array_equal(first, other)


def test_small_class_is_named() -> None:
    with pytest.raises(DataError, match=r"at least 3 images.*'rare \(1\)'"):
        assign(labels_of([10, 1]), ["common", "rare"], FRACTIONS, 0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_groups_never_straddle_and_stay_near_the_fractions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, 120)
    group = np.repeat(np.arange(120), sizes)
    labels = np.where(rng.random(len(group)) < 0.2, 1 - group % 2, group % 2)  # groups of mixed classes
    indices = assign(labels, ["a", "b"], FRACTIONS, seed, groups=[str(g) for g in group])
    homes = [set(group[indices[split]]) for split in SPLITS]
    assert not homes[0] & homes[1]
    assert not homes[0] & homes[2]
    assert not homes[1] & homes[2]
    for split in SPLITS:
        share = np.bincount(labels[indices[split]], minlength=2) / np.bincount(labels)
        assert np.abs(share - getattr(FRACTIONS, split)).max() < 0.08


def test_class_of_two_groups_cannot_be_in_three_splits() -> None:
    labels = labels_of([30, 30])
    groups = [str(row % 2) if row < 30 else str(row) for row in range(60)]
    with pytest.raises(DataError, match=r"at least 3 groups.*'a \(2\)'"):
        assign(labels, ["a", "b"], FRACTIONS, 0, groups=groups)


def test_declared_splits_stay_and_validation_is_carved_from_training() -> None:
    labels = np.tile([0, 1], 50)
    declared = ["train"] * 80 + ["test"] * 20
    indices = assign(labels, ["a", "b"], FRACTIONS, 0, declared=declared)
    assert indices["test"].tolist() == list(range(80, 100))
    assert len(indices["validation"]) == 20  # a quarter of the 80: .2 / (.6 + .2)
    assert len(indices["train"]) == 60


def test_declared_without_test_has_an_empty_test_split() -> None:
    labels = np.tile([0, 1], 50)
    indices = assign(labels, ["a", "b"], FRACTIONS, 0, declared=["train"] * 80 + ["validation"] * 20)
    assert [len(indices[split]) for split in SPLITS] == [80, 20, 0]


def test_class_missing_in_a_declared_split_is_named() -> None:
    declared = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    with pytest.raises(DataError, match=r"validation has no image of 'b'; test has no image of 'a'"):
        assign(np.array([0, 1, 0, 1, 0, 0, 1, 1]), ["a", "b"], FRACTIONS, 0, declared=declared)


def test_group_in_two_declared_splits_is_named() -> None:
    declared = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    groups = ["p1", "p2", "p3", "p4", "p5", "p6", "p1", "p8"]
    with pytest.raises(DataError, match=r"a group must lie in one split, got 'p1 \(train and test\)'"):
        assign(np.tile([0, 1], 4), ["a", "b"], FRACTIONS, 0, groups=groups, declared=declared)


def test_few_images_are_nested_and_leave_the_test_split_alone() -> None:
    labels = labels_of([100, 12, 300])
    indices = assign(labels, ["a", "b", "c"], FRACTIONS, 5)
    five, twenty = (few_images(indices, labels, n, 5) for n in (5, 20))
    assert np.bincount(labels[five["train"]]).tolist() == [5, 5, 5]
    assert np.bincount(labels[twenty["train"]]).tolist() == [20, 8, 20]  # b has no more
    assert np.bincount(labels[twenty["validation"]]).tolist() == [20, 2, 20]
    assert set(five["train"]) < set(twenty["train"]) < set(indices["train"])
    assert np.array_equal(five["test"], indices["test"])
