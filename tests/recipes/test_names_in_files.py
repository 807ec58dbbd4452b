"""What is written can be read: names at their limits, in recipes and model folders (FINDINGS E3, E4, E9)."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes_by_hand import make_task, recipe

from automl_transfer.domain.model_description import ModelDescription, read_description
from automl_transfer.domain.names import classes_mistake
from automl_transfer.domain.normalisation import facts
from automl_transfer.errors import ConfigurationError
from automl_transfer.recipes.best_strategy import read_recipe, write_recipe


@pytest.mark.parametrize(("study", "dataset"), [("~", "~old"), ("~", "~"), ("a.b", "x" * 500)])
def test_odd_names_are_shipped(tmp_path: Path, study: str, dataset: str) -> None:
    written = recipe(study=study, task=make_task(name=dataset))
    write_recipe(tmp_path / "r.json", written)
    assert read_recipe(tmp_path / "r.json") == written
    assert (written.provenance.study, written.task.name) == (study, dataset)


@pytest.mark.parametrize(
    "classes",
    [
        tuple(f"{n:06}" + "猫" * 120 for n in range(12_000)),
        tuple(str(n) for n in range(100_000)),
        tuple('"' * 499 + str(n) for n in range(9)),
    ],
    ids=["12,000 long names", "100,000 names", "names that are escaped"],
)
def test_as_many_classes_as_a_task_may_have(tmp_path: Path, classes: tuple[str, ...]) -> None:
    assert classes_mistake(classes) is None
    written = recipe(task=make_task(classes=classes))
    write_recipe(tmp_path / "r.json", written)
    assert read_recipe(tmp_path / "r.json").task.classes == classes
    description = ModelDescription(
        architecture="timm/resnet18", groups_kept=1, pool=1, in_channels=1, resolution=32, classes=classes,
        normalisation=facts(None), weights_sha256="ab" * 32,
    )  # fmt: skip
    (tmp_path / "model.json").write_text(description.to_json(), encoding="utf-8")
    assert read_description(tmp_path) == description


def test_a_key_twice_among_a_hundred_thousand_is_found(tmp_path: Path) -> None:
    """E9: it took 86 s for 1 MB."""
    keys = ", ".join(f'"k{n}": 0' for n in range(99_999))
    (tmp_path / "r.json").write_text(f'{{{keys}, "k99998": 1}}')
    with pytest.raises(ConfigurationError, match="the key 'k99998' twice"):
        read_recipe(tmp_path / "r.json")


@pytest.mark.parametrize("text", ['"' + '\\"' * 400_000, '{"a": "\\', '"' * 400_001, "[" * 400_000])
def test_text_that_never_ends_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"must be JSON|nest at most 32 deep"):
        read_recipe(tmp_path / "r.json")
