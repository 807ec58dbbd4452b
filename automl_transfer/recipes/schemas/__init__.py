"""JSON Schemas (draft 2020-12) of files that travel, one a version; they are published in the docs too.

`python -m automl_transfer.recipes.schemas` writes the newest ones anew after a change of the models.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from pydantic import BaseModel

from automl_transfer.doctor.findings import Diagnosis
from automl_transfer.knowledge import document as knowledge
from automl_transfer.recipes.best_strategy import SCHEMA_VERSION, Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NEWEST: dict[str, type[BaseModel]] = {
    f"recipe-{SCHEMA_VERSION}.json": Recipe,
    f"knowledge-{knowledge.SCHEMA_VERSION}.json": knowledge.Knowledge,
    "doctor-1.json": Diagnosis,
}
"""The file of each model's newest version."""


def recipe_schema(version: int = SCHEMA_VERSION) -> dict[str, Any]:
    """The published JSON Schema of a version of the best-strategy file.

    >>> recipe_schema()["properties"]["schema"]["const"]
    'automl-transfer/recipe/2'
    """
    return _schema(f"recipe-{version}.json")


def knowledge_schema(version: int = knowledge.SCHEMA_VERSION) -> dict[str, Any]:
    """The published JSON Schema of a version of the files of knowledge.

    >>> knowledge_schema()["properties"]["schema"]["const"]
    'automl-transfer/knowledge/1'
    """
    return _schema(f"knowledge-{version}.json")


def _schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((resources.files(__name__) / name).read_text(encoding="utf-8"))
    return found


def generated(name: str = f"recipe-{SCHEMA_VERSION}.json") -> str:
    """The text of a newest schema, from its model."""
    schema = {"$schema": DIALECT, **NEWEST[name].model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
