"""Tables of keys, from the pydantic models and the table of dimensions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pieces import code, table
from pydantic import BaseModel

from automl_transfer.domain.spec import SearchSpec, SplitFractions, StudySpec, TaskSpec
from automl_transfer.recipes.best_strategy import Recipe, recipe_schema
from automl_transfer.space.dimensions import DIMENSIONS


def study_file() -> str:
    """Every key of a study file, by its TOML table."""
    parts = []
    for heading, model in (
        ("Top of the file", StudySpec),
        ("[task]", TaskSpec),
        ("[task.splits]", SplitFractions),
        ("[search]", SearchSpec),
    ):
        keys = (row for row in _keys(model) if row[0] not in ("`task`", "`search`", "`space`", "`splits`"))
        parts += [f"### {heading}", table(("Key", "Value", "Default", "Meaning"), keys)]
    return "\n\n".join(parts)


def dimensions() -> str:
    """Every dimension of a strategy."""
    rows = (
        (
            code(d.name),
            d.effect + (f"; active if {d.condition}" if d.condition else ""),
            code(d.range_text),
            code(str(d.default)),
            d.paper,
        )
        for d in DIMENSIONS.values()
    )
    return table(("Dimension", "Effect", "Range", "Default", "Source"), rows)


def best_strategy() -> str:
    """Every key of the best-strategy file, by its object."""
    parts = []
    for name, field in Recipe.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        keys = (row[:2] + row[3:] for row in _keys(model))
        parts += [f"### `{name}`", _summary(model), table(("Key", "Value", "Meaning"), keys)]
    return "\n\n".join(parts)


def schema_text() -> str:
    """The JSON Schema as it is published."""
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


def _summary(model: type[BaseModel]) -> str:
    text = (model.__doc__ or "").strip().partition("\n\nAttributes:")[0]
    return " ".join(text.partition("\n\n")[0].split())


def _keys(model: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    schema = model.model_json_schema(by_alias=True)
    meanings = _meanings(model)
    required = set(schema.get("required", ()))
    for name, found in schema["properties"].items():
        default = "required" if name in required else _default(found.get("default"))
        yield code(name), _kind(found, schema.get("$defs", {})), default, meanings.get(name, "")


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the docstring's Attributes section says about each field."""
    lines = (model.__doc__ or "").partition("Attributes:")[2].splitlines()
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        start = re.match(r"^ {8}([a-z_]+(?:, [a-z_]+)*): (.*)$", line)
        if start:
            names = start[1].split(", ")
            found.update(dict.fromkeys(names, start[2]))
        elif line.strip():
            for name in names:
                found[name] += " " + line.strip()
    return found


def _default(value: Any) -> str:
    if value is None or isinstance(value, dict):
        return "" if value is None else "see below"
    return code(json.dumps(value, ensure_ascii=False))


def _kind(found: dict[str, Any], defs: dict[str, Any]) -> str:
    """A JSON Schema in words."""
    if "$ref" in found:
        name = found["$ref"].rpartition("/")[2]
        inner = defs.get(name, {})
        return _kind(inner, defs) if "properties" not in inner else "an object"
    if "anyOf" in found:
        kinds = [_kind(each, defs) for each in found["anyOf"] if each.get("type") != "null"]
        optional = len(kinds) < len(found["anyOf"])
        return " or ".join(dict.fromkeys(kinds)) + (", or nothing" if optional else "")
    if "enum" in found:
        return ", ".join(code(json.dumps(value, ensure_ascii=False)) for value in found["enum"])
    if "const" in found:
        return code(json.dumps(found["const"]))
    kind = found.get("type")
    if kind == "array":
        items = found.get("items") or (found.get("prefixItems") or [{}])[0]
        return f"list of {_kind(items, defs)}"
    if kind == "object":
        return "a table" if "properties" not in found else "an object"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return words.get(str(kind), str(kind)) + _bounds(found)


def _bounds(found: dict[str, Any]) -> str:
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    bounds = [f"{sign} {found[name]:g}" for name, sign in signs if name in found]
    if "64" in str(found.get("pattern", "")):
        bounds.append("64 hex digits")
    return f" ({', '.join(bounds)})" if bounds else ""
