"""Fresh splits: other images each time, every class and group as it should be, the test split untouched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl_transfer.data.folds import blocks_of, fresh_split, resplit_rows
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.evidence import unpack_numbers
from automl_transfer.domain.spec import TaskSpec


@pytest.fixture(scope="module")
def digits() -> LoadedTask:
    return load_task(TaskSpec(dataset="digits"))


def test_runs_of_one_cut_judge_every_image_of_the_pool_once(digits: LoadedTask) -> None:
    assert blocks_of(digits) == 4
    splits = [fresh_split(digits, run, seed=3) for run in range(4)]
    judged = np.concatenate([split.indices["validation"] for split in splits])
    assert np.array_equal(np.sort(judged), resplit_rows(digits))
    for split in splits:
        train, validation = split.indices["train"], split.indices["validation"]
        assert not set(train) & set(validation)
        assert len(train) + len(validation) == len(resplit_rows(digits))
        assert abs(len(train) - len(digits.indices["train"])) <= 10
        assert np.array_equal(split.indices["test"], digits.indices["test"])
        assert not set(digits.indices["test"]) & (set(train) | set(validation))


def test_the_same_run_is_the_same_split_and_another_cut_is_another(digits: LoadedTask) -> None:
    def block(run: int, seed: int = 3) -> list[int]:
        return list(fresh_split(digits, run, seed).indices["validation"])

    assert block(1) == block(1)
    assert block(1) != block(5) != block(1, seed=4)
    assert list(digits.indices["validation"]) not in [block(run) for run in range(8)]


def test_every_class_has_its_share(digits: LoadedTask) -> None:
    split = fresh_split(digits, 0, seed=0)
    counts = np.bincount(digits.labels[split.indices["validation"]], minlength=10)
    assert counts.max() - counts.min() <= 4


def test_a_group_stays_in_one_block(digits: LoadedTask) -> None:
    groups = tuple(f"patient {row // 7}" for row in range(len(digits.labels)))
    grouped = dataclasses.replace(digits, groups=groups)
    for run in range(6):
        split = fresh_split(grouped, run, seed=1)
        train = {groups[row] for row in split.indices["train"]}
        assert not train & {groups[row] for row in split.indices["validation"]}


def test_the_task_knows_which_judged_images_are_of_one_group(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(120):
        folder = tmp_path / "d" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
        picture.save(folder / f"p{number // 6}-{number}.png")
    spec = TaskSpec(dataset=str(tmp_path / "d"), resolution=32, group_from=r"(p\d+)-")
    loaded = load_task(spec, cache_root=tmp_path / "cache")
    assert loaded.groups is not None
    assert loaded.task.group_numbers is not None
    for packed, rows in (
        (loaded.task.group_numbers.pool, resplit_rows(loaded)),
        (loaded.task.group_numbers.validation, loaded.indices["validation"]),
    ):
        numbers, names = unpack_numbers(packed), [loaded.groups[row] for row in rows]
        assert len(numbers) == len(rows)
        assert len(set(zip(numbers, names, strict=True))) == len(set(names)) == len(set(numbers))
    assert load_task(TaskSpec(dataset="digits?per_class=2")).task.group_numbers is None


def test_few_groups_make_few_blocks_and_none_is_empty(digits: LoadedTask) -> None:
    grouped = dataclasses.replace(
        digits, groups=tuple(f"camera {row % 3}" for row in range(len(digits.labels)))
    )
    assert blocks_of(grouped) == 3
    for run in range(3):
        split = fresh_split(grouped, run, seed=1)
        assert len(split.indices["validation"]) > 0
        assert len(split.indices["train"]) > 0


def test_images_that_a_smaller_task_left_out_stay_out(tmp_path: Path) -> None:
    """Rare classes are trained on and never judged; of these, too, a smaller task has some alone."""
    for name, count in (("a", 60), ("b", 60), ("c", 12)):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(count):
            shade = Image.new("L", (8, 8), number + 70 * "abc".index(name))
            shade.save(tmp_path / "d" / name / f"{number}.png")
    spec = TaskSpec(
        dataset=f"{tmp_path / 'd'}?per_class=5", resolution=32, rare_classes="keep", min_per_class=20
    )
    few = load_task(spec, cache_root=tmp_path / "cache")
    assert np.bincount(few.labels[few.indices["train"]]).tolist() == [5, 5, 5]
    split = fresh_split(few, 0, seed=0)
    assert set(split.indices["train"]) <= set(resplit_rows(few))
    assert np.bincount(few.labels[split.indices["train"]]).tolist() == [5, 5, 5]


def test_a_few_images_a_class_make_two_blocks() -> None:
    few = load_task(TaskSpec(dataset="digits?per_class=2"))
    assert blocks_of(few) == 2
    split = fresh_split(few, 0, seed=0)
    assert len(split.indices["train"]) == len(few.indices["train"])
    assert set(few.labels[split.indices["train"]]) == set(range(10))
