"""JSON Schemas (draft 2020-12) of best-strategy files, one a version; they are published in the docs too.

`python -m automl_transfer.recipes.schemas` writes the newest one anew after a change of the models, and that
of the data doctor's `doctor.json`.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from pydantic import BaseModel

from automl_transfer.doctor.findings import Diagnosis
from automl_transfer.recipes.best_strategy import SCHEMA_VERSION, Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema(version: int = SCHEMA_VERSION) -> dict[str, Any]:
    """The published JSON Schema of a version of the best-strategy file.

    >>> recipe_schema()["properties"]["schema"]["const"]
    'automl-transfer/recipe/2'
    """
    file = resources.files(__name__) / f"recipe-{version}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def generated(model: type[BaseModel] = Recipe) -> str:
    """The text of the newest schema, from the models."""
    schema = {"$schema": DIALECT, **model.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


PUBLISHED: dict[str, type[BaseModel]] = {f"recipe-{SCHEMA_VERSION}.json": Recipe, "doctor-1.json": Diagnosis}
"""Files of schemas that follow the models."""
