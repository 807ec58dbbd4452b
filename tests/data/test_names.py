"""Names that could not be shipped are refused before anything is decoded or written (FINDINGS E3, E4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import DataError


@pytest.mark.parametrize(
    ("name", "classes", "rule"),
    [
        ("data", ["cat", ""], "a class name must not be empty, got '', in data"),
        ("data", ["cat", "dog\x1b[31m"], r"a class name must not hold a control character, got 'dog\\x1b"),
        ("data", ["cat", "x" * 501], "a class name must have at most 500 characters, got 501"),
        ("da\nta", ["cat", "dog"], "the name of a dataset must not hold a control character"),
    ],
)
def test_names_that_could_not_be_shipped(tmp_path: Path, name: str, classes: list[str], rule: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    labels = np.array([classes[n % 2] for n in range(20)])
    np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    with pytest.raises(DataError, match=rule):
        load_task(TaskSpec(dataset=str(tmp_path / f"{name}.npz")), cache_root=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_begins_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for label in ("cat", "dog"):
        (tmp_path / "~old" / label).mkdir(parents=True)
        for n in range(10):
            Image.new("L", (8, 8), 25 * n + (label == "dog")).save(tmp_path / "~old" / label / f"{n}.png")
    loaded = load_task(TaskSpec(dataset=str(tmp_path / "~old")), cache_root=tmp_path / "cache")
    assert loaded.task.name == "~old"
