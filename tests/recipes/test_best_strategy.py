import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from recipes_by_hand import make_task, recipe

from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import SplitSizes
from automl_transfer.errors import ConfigurationError, OutputError
from automl_transfer.recipes.best_strategy import (
    Environment,
    RecipeSource,
    RecipeTraining,
    read_recipe,
    write_recipe,
)
from automl_transfer.recipes.schemas import generated, recipe_schema

OLD = Path(__file__).parent / "old"
ROOT = Path(__file__).resolve().parents[2]


def stored(folder: Path, **changes: Any) -> Path:
    """A file with some of its values replaced; dots lead into objects."""
    value = json.loads(recipe().to_json())
    for key, new in changes.items():
        *parents, last = key.split("__")
        place = value
        for parent in parents:
            place = place[parent]
        place[last] = new
    path = folder / "best_strategy.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def mistakes(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read_recipe(path)
    return caught.value.mistakes


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "best strategy é 猫.json"
    write_recipe(path, recipe())
    assert read_recipe(path) == recipe()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_the_file_as_published(tmp_path: Path) -> None:
    data = json.loads(recipe().to_json())
    assert list(data) == [
        "schema", "strategy", "task", "source", "training", "metrics", "cost", "environment", "provenance",
    ]  # fmt: skip
    assert data["schema"] == "automl-transfer/recipe/2"
    assert data["source"] == {
        "name": "timm/resnet18",
        "revision": "a1_in1k",
        "sha256": None,
        "licence": "Apache-2.0",
    }
    assert data["task"]["splits"] == {"train": 60, "validation": 20, "test": 20}
    assert data["task"]["normalisation"] == {"kind": "fixed", "mean": [0.5], "std": [0.25]}
    assert list(data["environment"]["versions"]) == ["automl-transfer", "torch"]
    assert "二" in recipe().to_json()


def test_equal_recipes_have_equal_bytes() -> None:
    turned = recipe(
        environment=Environment(
            machine="x86_64", system="Linux", versions={"automl-transfer": "0.1.0", "torch": "2.14.1+cpu"}
        )
    )
    assert turned.to_json() == recipe().to_json()


def test_dimensions_without_effect_have_their_defaults() -> None:
    strategy = Strategy(source="timm/resnet18", tune_mode="closed_form", learning_rate=7.0)
    assert recipe(strategy=strategy).strategy.learning_rate == Strategy().learning_rate


def test_nothing_local_or_secret_is_in_the_file() -> None:
    source = "checkpoint/timm/resnet18@/home/berthold/secret-project/net.safetensors"
    made = recipe(
        strategy=Strategy(source=source),
        task=make_task(name="/home/berthold/cats"),
        source=RecipeSource(
            name=source,
            revision="file:///home/berthold/net",
            sha256="cd" * 32,
            licence="mine, see C:\\Users\\berthold\\LICENCE.txt or https://berthold:hunter2@example.org/l?token=42",
        ),
        environment=Environment(versions={"torch": "2.14.1", "mine": "/home/berthold/mine"}),
    )
    text = made.to_json()
    assert not re.search(r"berthold|hunter2|token|secret|://|/home|Users", text)
    assert made.strategy.source == made.source.name == "checkpoint/timm/resnet18@net.safetensors"
    assert made.task.name == "cats"
    assert made.source.licence == "mine, see LICENCE.txt or (address left out)"


def test_a_model_folder_keeps_its_base_name() -> None:
    source = "checkpoint/@../runs/mnist/model/"
    made = recipe(strategy=Strategy(source=source), source=RecipeSource(name=source, sha256="cd" * 32))
    assert made.strategy.source == "checkpoint/@model"


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    path = stored(
        tmp_path,
        strategy__freeze_depth=9,
        strategy__warp=1,
        strategy__class_weights=1,
        training__batch="64",
        task__fingerprint="xyz",
        surprise=True,
    )
    with pytest.raises(ConfigurationError) as caught:
        read_recipe(path)
    assert len(caught.value.mistakes) == 6
    text = str(caught.value)
    assert "strategy.freeze_depth: input should be less than or equal to 8, got 9" in text
    assert "strategy.warp: unknown field" in text
    assert "strategy.class_weights: input should be a valid boolean, got 1" in text
    assert "training.batch: input should be a valid integer, got '64'" in text
    assert "surprise: unknown field" in text
    assert str(path) in text


def test_missing_parts_are_named(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for version in (1, 2):
        path.write_text(f'{{"schema": "automl-transfer/recipe/{version}", "strategy": {{}}}}')
        assert "metrics: missing" in mistakes(path)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("automl-transfer/recipe/3", "newer automl-transfer"),
        ("automl-transfer/recipe/0", "no best-strategy file"),
        ("automl-transfer/recipe/²", "no best-strategy file"),
        ("automl-transfer/model/1", "no best-strategy file"),
        ("automl-transfer/recipe/x", "no best-strategy file"),
        (None, "no best-strategy file"),
        (1, "no best-strategy file"),
    ],
)
def test_other_schemas_are_refused(tmp_path: Path, schema: object, said: str) -> None:
    (text,) = mistakes(stored(tmp_path, schema=schema, surprise=1))
    assert said in text


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("task__name", "/data/cats"),
        ("task__name", "postgresql://ann:pw@host/db"),
        ("provenance__study", "..\\digits"),
        ("strategy__rest_init", "/usr/lib/init.py"),
    ],
)
def test_a_path_where_a_name_belongs_is_refused(tmp_path: Path, key: str, name: str) -> None:
    (text,) = mistakes(stored(tmp_path, **{key: name}))
    assert f"{key.replace('__', '.')} must be a name" in text


def test_a_checkpoint_path_is_refused(tmp_path: Path) -> None:
    name = "checkpoint/timm/resnet18@/etc/passwd"
    (text,) = mistakes(stored(tmp_path, strategy__source=name, source__name=name))
    assert "strategy.source must be a name" in text
    assert "source.sha256 must be given" in text


def test_strategy_and_source_must_agree(tmp_path: Path) -> None:
    (text,) = mistakes(stored(tmp_path, source__name="timm/resnet50"))
    assert "source.name must equal strategy.source" in text


def test_impossible_strategies_are_refused(tmp_path: Path) -> None:
    (text,) = mistakes(stored(tmp_path, strategy__tune_mode="closed_form", strategy__head_init="he"))
    assert "strategy: head_init must be ridge" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "must be JSON"),
        (b"[]", "must hold a JSON object, got list"),
        (b"\x80\x81{", "must be UTF-8"),
        (b'{"schema": NaN}', "NaN"),
        (b'{"schema": 1, "schema": 2}', "'schema' twice"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "must be JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nest at most 32 deep, got 100001"),
        (b'{"a": "' + b"x" * 10_000_000 + b'"}', "at most 10000000 bytes, got 10000009"),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    (text,) = mistakes(path)
    assert said in text


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with path.open("wb") as stream:
        stream.truncate(2**34)  # sparse
    assert "at most 10000000 bytes" in mistakes(path)[0]


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    assert "got nothing there" in mistakes(tmp_path / "none.json")[0]
    assert "got a folder" in mistakes(tmp_path)[0]
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "must be a JSON file" in mistakes(fifo)[0]


def test_brackets_in_strings_do_not_count(tmp_path: Path) -> None:
    path = stored(tmp_path, task__classes=["[" * 100, '\\"' + "{" * 100])
    assert read_recipe(path).task.classes[0] == "[" * 100


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_recipe(tmp_path / "none" / "r.json", recipe())


def test_the_published_schema_is_that_of_the_models_and_stands_in_the_docs() -> None:
    text = (ROOT / "automl_transfer/recipes/schemas/recipe-2.json").read_text(encoding="utf-8")
    assert text == generated(), "run python -m automl_transfer.recipes.schemas"
    for version in (1, 2):
        Draft202012Validator.check_schema(recipe_schema(version))
        published = ROOT / f"docs/schemas/recipe-{version}.json"
        assert json.loads(published.read_text(encoding="utf-8")) == recipe_schema(version)
    assert recipe_schema()["additionalProperties"] is False
    data = json.loads(recipe().to_json())
    assert set(recipe_schema()["properties"]) == set(data) | {
        "shipped_as",
        "other_sources",
    }  # left out for a winner as it is
    assert set(recipe_schema()["$defs"]["Strategy"]["properties"]) == set(data["strategy"])


def test_an_independent_judge_accepts_what_is_written_and_refuses_what_is_refused(tmp_path: Path) -> None:
    judge = Draft202012Validator(recipe_schema())
    assert list(judge.iter_errors(json.loads(recipe().to_json()))) == []
    for change in (
        {"surprise": 1},
        {"strategy__freeze_depth": 9},
        {"strategy__truncation": 0},
        {"training__batch": "64"},
        {"task__name": "/data/cats"},
        {"provenance__study": "postgresql://ann:pw@host/db"},
        {"schema": "automl-transfer/recipe/3"},
        {"metrics__test": 1},
    ):
        path = stored(tmp_path, **change)
        assert list(judge.iter_errors(json.loads(path.read_text()))), change
        mistakes(path)


def test_a_file_of_the_first_version_is_read() -> None:
    path = OLD / "recipe-1.json"
    old = json.loads(path.read_text(encoding="utf-8"))
    assert list(Draft202012Validator(recipe_schema(1)).iter_errors(old)) == []
    read = read_recipe(path)
    new = json.loads(read.to_json())
    assert list(Draft202012Validator(recipe_schema()).iter_errors(new)) == []
    assert new["schema"] == "automl-transfer/recipe/2"
    assert new["environment"]["versions"] == old["provenance"].pop("versions")
    assert new["cost"] is new["metrics"].pop("seeds") is new["metrics"].pop("confirmation") is None
    assert new["task"].pop("reading") is new["task"].pop("files") is None
    assert new["provenance"].pop("identity") is None
    # Dimensions that came later stand at their defaults.
    assert new["strategy"] == Strategy().model_dump(mode="json") | old["strategy"]
    for part in ("task", "source", "training", "metrics", "provenance"):
        assert new[part] == old[part], part


@pytest.mark.parametrize(
    ("images", "length", "by_data"),
    [
        (4000, {"epochs": 9}, True),  # what the rule gives, most probably by it
        (60, {"epochs": 9, "passes": 30}, True),
        (4000, {"epochs": 9, "passes": 30}, True),  # applied by a version that kept to it
        (60, {"epochs": 9}, False),
        (4000, {"epochs": 27}, False),
        (4000, {"epochs": 9, "steps": 10}, False),
        (4000, {"epochs": 9, "by_data": False}, False),
        (60, {"epochs": 5, "by_data": True}, True),
    ],
)
def test_whether_somebody_named_the_length_of_the_training(
    tmp_path: Path, images: int, length: dict[str, Any], by_data: bool
) -> None:
    """Files of earlier versions do not say: then it is told by what the rule gives."""
    splits = SplitSizes(train=images, validation=20, test=20)
    training = RecipeTraining(batch=64, seed=0, **length)
    write_recipe(tmp_path / "r.json", recipe(task=make_task(splits=splits), training=training))
    written = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["training"]
    assert written.get("by_data") is length.get("by_data")
    assert read_recipe(tmp_path / "r.json").by_data is by_data


def test_a_field_of_a_later_version_is_unknown_in_an_earlier_one(tmp_path: Path) -> None:
    path = stored(tmp_path, schema="automl-transfer/recipe/1")
    assert "cost: unknown field in automl-transfer/recipe/1" in mistakes(path)
