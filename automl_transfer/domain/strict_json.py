"""JSON files from strangers: bounded in size and depth, every key once, every mistake with its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from automl_transfer.errors import ConfigurationError, UserError

MAX_BYTES = 10_000_000
"""Of a file that is read, and so of one that is written (`recipes.output.write_text`)."""
MAX_DEPTH = 32

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")

M = TypeVar("M", bound=BaseModel)


class Frozen(BaseModel):
    """A value that is not changed, and that JSON holds: no key is unknown, and every number finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


def unsaid(value: object) -> bool:
    """Whether a field stays out of what is written, as versions before wrote it."""
    return value is None


def read_json(path: Path, error: type[UserError] = ConfigurationError) -> dict[str, Any]:
    """Read a JSON object of at most 10 MB whose brackets nest at most 32 deep.

    Raises:
        error: The file is missing, too large, not UTF-8, not JSON, or not an object.
    """
    return parse_json(read_text(path, error), str(path), error)


def read_text(path: Path, error: type[UserError] = ConfigurationError) -> str:
    """Read a UTF-8 file of at most 10 MB."""
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "nothing there"
            raise error(f"{path} must be a JSON file, got {what}")
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as failure:
        raise error(f"cannot read {str(path)[:300]!r}: {failure}") from failure
    if len(raw) > MAX_BYTES:
        raise error(f"{path} must have at most {MAX_BYTES} bytes, got {path.stat().st_size}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise error(f"{path} must be UTF-8 text, got another encoding at byte {failure.start}") from failure


def parse_json(text: str, where: str, error: type[UserError] = ConfigurationError) -> dict[str, Any]:
    """Parse an object: no deep nesting, no NaN, no key twice."""
    # The parser recurses, so the depth is known before it begins.
    depth = _depth(text)
    if depth > MAX_DEPTH:
        raise error(f"{where} must nest at most {MAX_DEPTH} deep, got {depth}")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except ValueError as failure:
        raise error(f"{where} must be JSON, got {failure}") from failure
    if not isinstance(value, dict):
        raise error(f"{where} must hold a JSON object, got {type(value).__name__}")
    return value


def validate(model: type[M], value: dict[str, Any], where: str) -> M:
    """Make a model of parsed JSON, with strict types.

    Raises:
        ConfigurationError: All mistakes at once, each with its key.
    """
    try:
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as failure:
        raise ConfigurationError(mistakes(failure), where) from None


def mistakes(failure: ValidationError) -> list[str]:
    """What a model says is wrong, a line a key."""
    return [_mistake(dict(each)) for each in failure.errors(include_url=False)]


def _mistake(error: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"]) or "file"
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"{place}: unknown field"
    if kind == "missing":
        return f"{place}: missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message[:1].lower() + message[1:]}, got {_short(error['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice[:80]!r} twice in one object")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is not a JSON number")


def _depth(text: str) -> int:
    """How deep brackets nest, as far as a parser would get: it stops at a string without an end."""
    depth = deepest = 0
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0  # too few of them to nest too deep
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        deepest = max(deepest, depth)
    return deepest
