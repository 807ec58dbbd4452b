"""Every study file of the repository can be used, and says how."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl_transfer.space.space import Space
from automl_transfer.space.study_file import PRESETS, read_study
from automl_transfer.space.suite_file import read_suite

FOLDER = Path(__file__).parents[1] / "studies"
STUDIES = sorted(path for path in FOLDER.glob("*.toml") if path.stem != "suite")


def test_presets_are_among_them() -> None:
    assert set(PRESETS) <= {path.stem for path in STUDIES}


def test_larger_presets_search_all_that_quick_does_and_nothing_that_gained_nothing() -> None:
    spaces = {name: Space.from_settings(read_study(FOLDER / f"{name}.toml").space) for name in PRESETS}
    searched = {name: {dimension.name for dimension in space.searched} for name, space in spaces.items()}
    for name, space in spaces.items():
        assert searched["quick"] - searched[name] <= {"source"}
        (anchors,) = [d.choices for d in space.searched if d.name == "anchor"] or [("none",)]
        # The others gained nothing that can be told (docs/performance.md).
        assert set(anchors) <= {"none", "l2sp"}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_valid_and_starts_with_its_command(path: Path) -> None:
    spec = read_study(path)
    assert spec.name == path.stem
    space = Space.from_settings(spec.space)
    assert space.searched
    assert space.default() == space.default().canonical()
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# automl-transfer ")
    assert f"studies/{path.name}" in first


def test_the_suite_is_valid_and_starts_with_its_command() -> None:
    suite = read_suite(FOLDER / "suite.toml")
    assert [spec.name for spec in suite.studies] == ["digits-quick", "textures-quick", "mnist5k-quick"]
    assert [spec.search.minutes for spec in suite.studies] == [3, 3, 5]
    first = (FOLDER / "suite.toml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# automl-transfer suite studies/suite.toml"
