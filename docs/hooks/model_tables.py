"""Tables of keys, from the pydantic models and the table of dimensions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from pieces import code, table
from pydantic import BaseModel

from automl_transfer.domain.spec import SearchSpec, SplitFractions, StudySpec, TableColumns, TaskSpec
from automl_transfer.domain.strategy import DIMENSIONS, Strategy
from automl_transfer.recipes.best_strategy import SCHEMA_VERSION, Recipe

Model = type[BaseModel]


def study_file() -> str:
    """Every key of a study file, by its TOML table."""
    parts = []
    for heading, model in (
        ("Top of the file", StudySpec),
        ("[task]", TaskSpec),
        ("[task.splits]", SplitFractions),
        ("[task.columns]", TableColumns),
        ("[search]", SearchSpec),
    ):
        rows = []
        for name, schema, meaning in _fields(model):
            if name in ("task", "splits", "columns", "search", "space"):  # tables of their own
                continue
            default = code(_json(schema["default"])) if schema.get("default") is not None else ""
            needed = name in model.model_json_schema().get("required", ())
            rows.append((code(name), meaning, _kind(schema), "required" if needed else default))
        parts += [f"### {heading}", table(("Key", "Meaning", "Value", "Default"), rows)]
    return "\n\n".join(parts)


def dimensions() -> str:
    """Every dimension of a strategy."""
    rows = (
        (
            code(d.name),
            "; ".join(
                part for part in (d.effect, d.condition and f"active if {d.condition}", d.needs_text) if part
            ),
            code(d.range_text),
            code(str(d.default)),
            d.paper,
        )
        for d in DIMENSIONS.values()
    )
    return table(("Dimension", "Effect", "Range", "Default", "Source"), rows)


def best_strategy() -> str:
    """Every key of the best-strategy file, by its object; inner objects with a dot."""
    parts = []
    for name, field in Recipe.model_fields.items():
        model = _model(field.annotation)
        if model is None or model is Strategy:
            continue
        summary = " ".join((model.__doc__ or "").partition("\n\n")[0].split())
        parts += [f"### `{name}`", summary, table(("Key", "Value", "Meaning"), _flat(model, ""))]
    return "\n\n".join(parts)


def schemas() -> str:
    """Links to the published JSON Schemas, the newest first."""
    links = (f"[version {n}](../schemas/recipe-{n}.json)" for n in range(SCHEMA_VERSION, 0, -1))
    return "Their JSON Schemas: " + ", ".join(links) + "."


def _flat(model: Model, above: str) -> Iterator[tuple[str, str, str]]:
    for name, schema, meaning in _fields(model):
        annotation = model.model_fields[name].annotation
        inner = _model(annotation)
        null = " or `null`" if type(None) in get_args(annotation) else ""
        if inner is None:
            yield code(above + name), _kind(schema) + null, meaning
            continue
        listed = "[]" if "array" in (schema.get("type"), *_types(schema)) else ""
        if meaning or null:
            kind = "list of objects" if listed else "object"
            yield code(above + name), kind + null, meaning
        yield from _flat(inner, f"{above}{name}{listed}.")


def _model(annotation: Any) -> Model | None:
    """The model that a field holds, perhaps in a tuple or as one of several kinds."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _fields(model: Model) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Name, JSON Schema and meaning of each field."""
    whole = model.model_json_schema(by_alias=False)
    meanings = _meanings(model)
    for name, schema in whole["properties"].items():
        meaning = meanings.get(name, "").replace("None:", "Left out:")
        yield name, _resolved(schema, whole.get("$defs", {})), meaning


def _resolved(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return {**defs[schema["$ref"].rpartition("/")[2]], **schema}
    return schema


def _meanings(model: Model) -> dict[str, str]:
    """What the docstring's Attributes section says about each field."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in (model.__doc__ or "").partition("Attributes:")[2].splitlines():
        start = re.match(r"^ {8}([a-z_]+(?:, [a-z_]+)*): (.*)$", line)
        if start:
            names = start[1].split(", ")
            found.update(dict.fromkeys(names, start[2]))
        elif line.strip():
            for name in names:
                found[name] += " " + line.strip()
    return found


def _types(schema: dict[str, Any]) -> list[str]:
    return [each.get("type", "") for each in schema.get("anyOf", ())]


def _kind(schema: dict[str, Any]) -> str:
    """A JSON Schema in words."""
    if "anyOf" in schema:
        kinds = (_kind(each) for each in schema["anyOf"] if each.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return ", ".join(code(_json(value)) for value in schema["enum"])
    if "const" in schema:
        return code(_json(schema["const"]))
    kind = str(schema.get("type", ""))
    if kind == "array":
        items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        return f"list of {_kind(items).replace('number', 'numbers')}" if items else "list"
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "object": "object",
    }
    return words.get(kind, kind) + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    bounds = [f"{sign} {schema[name]:,}" for name, sign in signs if name in schema]
    if low is not None and high is not None:
        bounds = [f"{low:,} to {high:,}"]
    if "{64}" in str(schema.get("pattern", "")):
        bounds.append("64 hex digits")
    return f" ({', '.join(bounds)})" if bounds else ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
