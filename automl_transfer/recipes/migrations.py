"""Best-strategy files of earlier versions, brought up to the newest one step by step.

A new version is one function and one line in `_STEPS`; `schemas/` keeps the JSON Schema of each, and
`tests/recipes/old/` a file that really was written by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from automl_transfer.errors import ConfigurationError

SCHEMA_NAME = "automl-transfer/recipe/"
SCHEMA_VERSION = 2

Document = dict[str, Any]


def to_newest(value: Document, where: str) -> Document:
    """The content of a recipe file in the newest version; the argument stays as it is.

    Raises:
        ConfigurationError: It states no version, a newer one, or fields its own version does not have.
    """
    version = _version(value.get("schema"), where)
    while version < SCHEMA_VERSION:
        value = _STEPS[version](value, where)
        version += 1
        value["schema"] = f"{SCHEMA_NAME}{version}"
    return value


def _from_1(value: Document, where: str) -> Document:
    """Versions moved from `provenance` to `environment`; the cost and scores beyond one model are new."""
    new = dict(value)
    early: list[str] = [name for name in ("environment", "cost") if name in value]
    metrics, provenance = value.get("metrics"), value.get("provenance")
    if isinstance(metrics, dict):
        early += [f"metrics.{name}" for name in ("confirmation", "seeds") if name in metrics]
    if isinstance(provenance, dict) and "identity" in provenance:
        early.append("provenance.identity")
    if early:
        raise ConfigurationError([f"{name}: unknown field in {SCHEMA_NAME}1" for name in early], where)
    new["environment"] = {}
    if isinstance(provenance, dict):
        new["provenance"] = {key: part for key, part in provenance.items() if key != "versions"}
        if "versions" in provenance:
            new["environment"] = {"versions": provenance["versions"]}
    return new


_STEPS: dict[int, Callable[[Document, str], Document]] = {1: _from_1}


def _version(schema: object, where: str) -> int:
    name, _, version = str(schema).rpartition("/")
    if not isinstance(schema, str) or f"{name}/" != SCHEMA_NAME or not _is_number(version):
        raise ConfigurationError(
            f"schema must be {SCHEMA_NAME}{SCHEMA_VERSION}, got {str(schema)[:80]!r}: "
            "this is no best-strategy file",
            where,
        )
    if int(version) > SCHEMA_VERSION:
        raise ConfigurationError(
            f"schema must be at most {SCHEMA_NAME}{SCHEMA_VERSION}, got {schema[:80]}: "
            "a newer automl-transfer wrote it, so upgrade this one",
            where,
        )
    return int(version)


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdecimal() and 0 < len(version) < 10 and int(version) > 0
