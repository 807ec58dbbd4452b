"""Classes too rare for every split: refused with the option that helps, or dropped, merged, kept (D8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import load, make_folder, noise

from automl_transfer.data.folds import blocks_of, fresh_split
from automl_transfer.data.task import LoadedTask
from automl_transfer.errors import DataError

COUNTS = {"cat": 12, "dog": 10, "emu": 2, "fox": 2}


def classes_in(loaded: LoadedTask, split: str) -> dict[str, int]:
    labels = loaded.labels[loaded.indices[split]]  # type: ignore[index]
    return {loaded.task.classes[label]: int((labels == label).sum()) for label in np.unique(labels)}


def counted(loaded: LoadedTask) -> dict[str, int]:
    assert loaded.task.account is not None
    return {each.reason: each.files for each in loaded.task.account.left_out}


def test_refused_with_the_option_that_helps(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", COUNTS)
    with pytest.raises(DataError, match=r"'emu \(2\)', 'fox \(2\)'.*--rare-classes drop"):
        load(root, tmp_path / "c")
    with pytest.raises(DataError, match=r"at least 11 images \(--min-per-class\), got 'dog \(10\)'"):
        load(root, tmp_path / "c", min_per_class=11)


def test_dropped_and_counted(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", COUNTS)
    loaded = load(root, tmp_path / "c", rare_classes="drop")
    assert loaded.task.classes == ("cat", "dog")
    assert counted(loaded) == {"image of a rare class": 4}
    alone = load(make_folder(tmp_path / "e", {"cat": 12, "dog": 10}), tmp_path / "c")
    for split in ("train", "validation", "test"):  # the others are split as if those had never been there
        assert [loaded.keys[row] for row in loaded.indices[split]] == [
            alone.keys[row] for row in alone.indices[split]
        ]


def test_merged_into_one_class(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", COUNTS)
    loaded = load(root, tmp_path / "c", rare_classes="merge")
    assert loaded.task.classes == ("cat", "dog", "other")
    assert sum(classes_in(loaded, split)["other"] for split in ("train", "validation", "test")) == 4
    assert counted(loaded) == {}
    assert loaded.task.account is not None
    assert "merged into the class 'other': 'emu (2)', 'fox (2)'" in loaded.task.account.notes[0]


def test_a_merged_class_may_be_too_rare_itself(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"cat": 12, "dog": 10, "emu": 2})
    with pytest.raises(DataError, match=r"'other \(2\)': use --rare-classes drop or keep"):
        load(root, tmp_path / "c", rare_classes="merge")


def test_kept_to_train_on_in_the_search_and_in_every_confirmation(tmp_path: Path) -> None:
    loaded = load(make_folder(tmp_path / "d", COUNTS), tmp_path / "c", rare_classes="keep")
    assert loaded.task.classes == ("cat", "dog", "emu", "fox")
    assert {name: classes_in(loaded, "train")[name] for name in ("emu", "fox")} == {"emu": 2, "fox": 2}
    for split in ("validation", "test"):
        assert set(classes_in(loaded, split)) == {"cat", "dog"}
    for run in range(2 * blocks_of(loaded)):
        fresh = fresh_split(loaded, run, seed=0)
        assert set(classes_in(fresh, "validation")) == {"cat", "dog"}
        assert classes_in(fresh, "train")["emu"] == 2


def test_kept_images_never_share_a_group_with_judged_ones(tmp_path: Path) -> None:
    root = tmp_path / "d"
    for seed in range(60):
        name = "rare" if seed in (0, 1, 2) else "ab"[seed % 2]
        path = root / name / f"p{seed // 3:02d}_{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed + (200 if name == "rare" else 0)).save(path)
    noise(999).save(root / "rare" / "p05_x.png")  # of a patient that has common images too
    loaded = load(root, tmp_path / "c", rare_classes="keep", group_from=r"(p\d+)_")
    assert loaded.groups is not None
    tasks = [loaded, *(fresh_split(loaded, run, seed=0) for run in range(blocks_of(loaded)))]
    for task in tasks:
        trained = {loaded.groups[row] for row in task.indices["train"]}
        assert not trained & {loaded.groups[row] for row in task.indices["validation"]}
        assert "rare" not in classes_in(task, "validation")


def test_a_class_missing_in_a_declared_split(tmp_path: Path) -> None:
    counts = {
        "train/a": 4,
        "train/b": 4,
        "train/c": 4,
        "val/a": 3,
        "val/b": 3,
        "test/a": 3,
        "test/b": 3,
        "test/c": 3,
    }
    root = make_folder(tmp_path / "d", counts)
    with pytest.raises(DataError, match=r"validation has no image of 'c'.*--rare-classes drop"):
        load(root, tmp_path / "c")
    assert load(root, tmp_path / "c", rare_classes="drop").task.classes == ("a", "b")
    kept = load(root, tmp_path / "c", rare_classes="keep")
    assert classes_in(kept, "train") == {"a": 4, "b": 4, "c": 4}
    assert classes_in(kept, "test") == {"a": 3, "b": 3}
    assert counted(kept) == {"image of a rare class": 3}


def test_a_class_that_cannot_be_trained_on_is_left_out_where_rare_ones_are_kept(tmp_path: Path) -> None:
    counts = {"train/a": 4, "train/b": 4, "test/a": 3, "test/b": 3, "test/c": 3}
    loaded = load(make_folder(tmp_path / "d", counts), tmp_path / "c", rare_classes="keep")
    assert loaded.task.classes == ("a", "b")
    assert counted(loaded) == {"image of a rare class": 3}


def test_min_per_class(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"cat": 12, "dog": 10, "emu": 6})
    assert load(root, tmp_path / "c", rare_classes="drop", min_per_class=7).task.classes == ("cat", "dog")
    with pytest.raises(DataError, match="at least two classes must be left beside rare ones, got 'cat'"):
        load(root, tmp_path / "c", rare_classes="drop", min_per_class=11)


@pytest.mark.parametrize("given", [{"rare_classes": "drop"}, {"min_per_class": 2}, {"on_bad_image": "skip"}])
def test_a_dataset_without_rare_classes_is_the_same_task(tmp_path: Path, given: dict[str, Any]) -> None:
    root = make_folder(tmp_path / "d", {"cat": 6, "dog": 6})
    assert load(root, tmp_path / "c", **given).task == load(root, tmp_path / "c").task
