"""Reads a study file (TOML) into a `StudySpec`, and reports all of its mistakes together."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from automl_transfer.domain.spec import StudySpec
from automl_transfer.errors import ConfigurationError
from automl_transfer.space.space import Space

PRESETS = ("quick", "core")
MAX_BYTES = 1_000_000


def preset_path(name: str) -> Path:
    """Where a preset's study file lies: in the installed package, or beside it in a checkout.

    Raises:
        ConfigurationError: No such preset.
    """
    if name not in PRESETS:
        raise ConfigurationError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    package = Path(str(resources.files("automl_transfer")))
    for folder in (package / "studies", package.parent / "studies"):
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    raise ConfigurationError(
        f"the preset {name} is not part of this installation: install automl-transfer again"
    )


def read_study(path: Path, overrides: Iterable[str] = (), **given: Any) -> StudySpec:
    """Read and validate a study file.

    Args:
        path: The TOML file.
        overrides: `key=value` texts (`--set`), the key dotted as in `search.trials=5`; the value in
            TOML, or else a plain word.
        given: Dotted keys with double underscores (`task__dataset`), None meaning "not given".

    Raises:
        ConfigurationError: Every mistake, with its key and, where the file has it, its line.
    """
    text = _read_text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"must be TOML: {error}", str(path)) from None
    mistakes: list[str] = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            mistakes.append(f"--set must be key=value, got {override!r}")
            continue
        _put(document, key.strip().split("."), _parse_value(value.strip()), mistakes)
    for key, value in given.items():
        if value is not None:
            _put(document, key.split("__"), value, mistakes)
    spec: StudySpec | None = None
    try:
        spec = StudySpec.model_validate(document)
    except ValidationError as error:
        mistakes.extend(_explain(error, text))
    space = document.get("space", {})
    if isinstance(space, dict):
        try:
            Space.from_settings({k: tuple(v) if isinstance(v, list) else v for k, v in space.items()})
        except ConfigurationError as error:
            mistakes.extend(_with_line(m, m.split(":")[0].split("."), text) for m in error.mistakes)
        except TypeError:
            pass  # A nested table as a setting is reported by the validation above.
    if mistakes or spec is None:
        raise ConfigurationError(mistakes, str(path))
    return spec


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ConfigurationError(f"study file must exist, got {path}: write one with 'automl-transfer init'")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigurationError(
            f"a study file must be under 1 MB, got {path.stat().st_size:,} bytes", str(path)
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"must be UTF-8 text, got byte {error.start} undecodable", str(path)
        ) from None
    except OSError as error:
        raise ConfigurationError(f"must be readable, got: {error.strerror}", str(path)) from None


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(document: dict[str, Any], keys: list[str], value: Any, mistakes: list[str]) -> None:
    place: Any = document
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            mistakes.append(f"{'.'.join(keys)}: {key} is a value, not a table")
            return
    place[keys[-1]] = value


def _explain(error: ValidationError, text: str) -> list[str]:
    found: dict[str, str] = {}
    for item in error.errors():
        # A union reports once for every alternative; the key is what a person needs.
        location = [str(part) for part in item["loc"] if _is_key(part)]
        key = ".".join(location)
        received = "" if item["type"] == "missing" else f", got {_short(item['input'])}"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message, received = "unknown key", ": remove it or correct its name"
        if location[:1] == ["space"]:
            message = 'must be "search", a value, a list of choices or [low, high]'
        line = f"{key}: {message[0].lower()}{message[1:]}"
        found.setdefault(key, _with_line(line + ("" if ", got" in message else received), location, text))
    return list(found.values())


def _is_key(part: int | str) -> bool:
    return not (isinstance(part, str) and ("[" in part or part in ("str", "float", "int", "bool")))


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _with_line(message: str, location: list[str], text: str) -> str:
    number = _line_of(location, text)
    return f"line {number}: {message}" if number else message


def _line_of(location: list[str], text: str) -> int | None:
    """Line of a dotted key: the last part within its table, as people write TOML."""
    if not location:
        return None
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if header := re.match(r"\[+\s*([^\]]+?)\s*\]+", stripped):
            table = [part.strip().strip('"') for part in header.group(1).split(".")]
            found = table
        elif key := re.match(r'"?([\w.\-]+)"?\s*=', stripped):
            found = [*table, *key.group(1).split(".")]
        else:
            continue
        if found == location[: len(found)] and len(found) >= min(2, len(location)):
            return number
    return None
