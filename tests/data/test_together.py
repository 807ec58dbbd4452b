"""Images that belong together, by group or by their pixels, stay on one side of splits and folds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from image_files import load, make_folder, noise

from automl_transfer.data.folds import blocks_of, fresh_split
from automl_transfer.data.in_memory import task_in_memory
from automl_transfer.data.splits import assign
from automl_transfer.data.together import grouping_of, leaders_of, together_of, twins_of
from automl_transfer.domain.spec import SplitFractions

FRACTIONS = SplitFractions()


def digests(*contents: int) -> np.ndarray:
    return np.array([[content] * 16 for content in contents], np.uint8)


def test_equal_pixels_and_groups_are_joined_in_the_order_of_names() -> None:
    none = np.zeros(4, np.bool_)
    assert twins_of(digests(3, 1, 2, 4), none) is None
    assert twins_of(digests(3, 1, 3, 1), none).tolist() == [0, 1, 0, 1]  # type: ignore[union-attr]
    blank = np.array([True, False, True, False])
    assert twins_of(digests(3, 1, 3, 1), blank).tolist() == [0, 1, 2, 1]  # type: ignore[union-attr]
    groups = [name for name in "cbahgfed" for _ in range(2)]
    assert together_of(groups).tolist() == [2, 2, 1, 1, 0, 0, 7, 7, 6, 6, 5, 5, 4, 4, 3, 3]  # type: ignore[union-attr]
    twins = np.arange(16)
    twins[3] = twins[0]  # an image of c is one of b
    assert together_of(groups, twins).tolist() == [1, 1, 1, 1, 0, 0, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2]  # type: ignore[union-attr]
    twins[::2] = 0  # every group has the same picture
    assert together_of(groups, twins).tolist() == together_of(groups).tolist()  # type: ignore[union-attr]


def test_a_grouping_is_which_images_stay_together_whatever_groups_are_called() -> None:
    found = grouping_of(["ann", "bob", "ann", "cy"])
    assert found == grouping_of(["2", "1", "2", "0"])
    assert found != grouping_of(["ann", "bob", "cy", "ann"])
    assert grouping_of(None) == ""


def test_the_first_lead() -> None:
    first, place = leaders_of(np.array([1, 2, 4, 5, 7]), np.array([9, 3, 1, 9, 3, 8, 9, 1]))
    assert first.tolist() == [1, 2, 5]
    assert place.tolist() == [0, 1, 0, 2, 1]


def test_duplicates_go_into_one_split_and_nothing_else_moves_without_them() -> None:
    labels = np.repeat([0, 1], 60)
    twins = np.arange(120) // 2 * 2
    twins[61], twins[1] = 61, 60  # one image has two labels
    for seed in range(5):
        plain = assign(labels, ["a", "b"], FRACTIONS, seed)
        same = assign(labels, ["a", "b"], FRACTIONS, seed, together=np.arange(120))
        assert all(np.array_equal(plain[split], same[split]) for split in plain)
        indices = assign(labels, ["a", "b"], FRACTIONS, seed, together=twins)
        assert np.array_equal(np.sort(np.concatenate(list(indices.values()))), np.arange(120))
        where = np.empty(120, np.int64)
        for number, rows in enumerate(indices.values()):
            where[rows] = number
        assert (where == where[[np.flatnonzero(twins == twin)[0] for twin in twins]]).all()
        assert [round(len(rows) / 120, 1) for rows in indices.values()] == [0.6, 0.2, 0.2]


def test_a_class_of_too_few_different_images_is_split_as_before() -> None:
    labels, twins = np.repeat([0, 1], 6), np.r_[[0] * 6, np.arange(6, 12)]
    indices = assign(labels, ["a", "b"], FRACTIONS, 0, together=twins)
    assert all(set(labels[rows]) == {0, 1} for rows in indices.values())


def test_groups_that_share_an_image_go_into_one_split_unless_a_class_then_lacks_groups() -> None:
    labels = np.arange(48) % 2
    groups = [f"{row // 4:02d}" for row in range(48)]
    twins = np.arange(48)
    twins[5] = 0  # groups 00 and 01
    joined = together_of(groups, twins)
    for seed in range(5):
        indices = assign(labels, ["a", "b"], FRACTIONS, seed, groups=groups, together=joined)
        assert sum(bool({0, 5} & set(rows)) for rows in indices.values()) == 1
    few = np.flatnonzero(np.isin(groups, ["00", "01", "02"]))
    names = [groups[row] for row in few]
    apart = assign(
        labels[few], ["a", "b"], FRACTIONS, 0, groups=names, together=together_of(names, twins[few])
    )
    assert all(len(rows) == 4 for rows in apart.values())


def test_a_folder_with_copies_has_none_across_splits_or_folds(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "photos", {"a": 20, "b": 20})
    for copy in range(15):
        noise(copy % 5).save(folder / "a" / f"copy{copy}.png")
    task = load(folder, tmp_path / "cache")
    assert task.together is not None
    found = [set(task.together[rows]) for rows in task.indices.values()]
    assert sum(map(len, found)) == len(set.union(*found)) == 40
    assert task.task.account is not None
    assert not any("in another split" in each.what for each in task.task.account.oddities)
    for run in range(blocks_of(task)):
        split = fresh_split(task, run, seed=0)
        train, judged = split.indices["train"], split.indices["validation"]
        assert not set(task.together[train]) & set(task.together[judged])
        assert len(train) + len(judged) == task.task.splits.train + task.task.splits.validation
    bare = dataclasses.replace(task, twins=None)
    assert bare.together is None


def test_images_in_memory_are_held_out_with_their_copies() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    labels = np.arange(80) % 2
    task = task_in_memory(np.concatenate([images, images]), labels, ("a", "b"), held_out=0.3, seed=0).loaded
    train, validation = task.indices["train"], task.indices["validation"]
    assert not set(train % 40) & set(validation % 40)
    assert len(train) == 56
