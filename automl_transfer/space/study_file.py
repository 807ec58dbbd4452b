"""Reads a study file (TOML), or a dataset under a preset, into a `StudySpec`; says all mistakes at once."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from automl_transfer.domain.measured import unknown_metric
from automl_transfer.domain.names import presentable
from automl_transfer.domain.spec import StudySpec
from automl_transfer.errors import ConfigurationError
from automl_transfer.files import reading
from automl_transfer.space.space import Space, unknown_methods

PRESETS = ("quick", "core", "best")
MAX_BYTES = 100_000
MAX_LINE = 1_000
"""Characters: a reader of TOML takes memory by the square of a dotted key's length."""
MAX_DEPTH = 16


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


def read_study(
    path: Path, overrides: Iterable[str] = (), *, called: str | None = None, **given: Any
) -> StudySpec:
    """Read and validate a study file.

    Args:
        path: The TOML file.
        overrides: `key=value` texts (`--set`), the key dotted as in `search.trials=5`; the value in
            TOML, or else a plain word.
        called: What errors call the file, where nobody named it; by default its path.
        given: Dotted keys with double underscores (`task__dataset`), None meaning "not given".

    Raises:
        ConfigurationError: Every mistake, with its key and, where the file has it, its line.
    """
    text, document = read_document(path)
    return checked_study(document, overrides, given, text=text, where=called or str(path))


def read_document(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a file, and what it says in TOML; nothing of that is checked but its size and depth.

    Raises:
        ConfigurationError: It cannot be read, or is no TOML.
    """
    text = _read_text(path)
    return text, _parsed(text, path)


def checked_study(
    document: dict[str, Any],
    overrides: Iterable[str] = (),
    given: Mapping[str, Any] | None = None,
    *,
    text: str = "",
    where: str | None = None,
) -> StudySpec:
    """The specification of a document, once `overrides` and `given` are put into it, as for `read_study`.

    `text` is what the document was read from, and `where` its name.
    """
    mistakes: list[str] = []
    elsewhere: set[tuple[str, ...]] = set()
    for override in overrides:
        try:
            key, value = parsed_setting(override)
        except ConfigurationError as error:
            mistakes += error.mistakes
            continue
        keys = key.split(".")
        elsewhere.update(_said(keys, value))
        _put(document, keys, value, mistakes)
    for key, value in (given or {}).items():
        if value is not None:
            keys = key.split("__")
            if tuple(keys) in elsewhere:
                mistakes.append(
                    f"{'.'.join(keys)}: must be said once, got it by --set and as {value!r}: leave one of "
                    "them out"
                )
                continue
            elsewhere.add(tuple(keys))
            _put(document, keys, value, mistakes)
    lines = _Lines(text, elsewhere)
    for part in ("space", "task"):
        if isinstance(said := document.get(part), dict):
            document[part] = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
    space = document.get("space")
    spec: StudySpec | None = None
    try:
        # Strictly: a number in quotes, or true for 1, is a mistake and not a number.
        spec = StudySpec.model_validate(document, strict=True)
    except ValidationError as error:
        mistakes.extend(_explain(error, lines))
    task = document.get("task")
    if isinstance(task, dict):
        found = unknown_metric(task.get("metric", "accuracy"))
        mistakes.extend(lines.put_before(m, ["task", "metric"]) for m in found)
    if isinstance(space, dict):
        try:
            settings = {name: value for name, value in space.items() if _is_setting(value)}
            mistakes.extend(
                lines.put_before(m, m.split(":")[0].split(".")) for m in unknown_methods(settings)
            )
            Space.from_settings(settings)
        except ConfigurationError as error:
            mistakes.extend(lines.put_before(m, m.split(":")[0].split(".")) for m in error.mistakes)
    if mistakes or spec is None:
        raise ConfigurationError(mistakes, where)
    return spec


def parsed_setting(text: str) -> tuple[str, Any]:
    """The key and the value of a `key=value` text (`--set`); the value in TOML, or else a plain word.

    Raises:
        ConfigurationError: It has no key, or no value.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigurationError(f"--set must be key=value, got {text!r}")
    return key.strip(), _parse_value(value.strip())


def _parsed(text: str, path: Path) -> dict[str, Any]:
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > MAX_LINE:
            raise ConfigurationError(
                f"line {number}: a line must have at most {MAX_LINE:,} characters, got {len(line):,}: write "
                "a long list on several lines",
                str(path),
            )
    with reading("a study file must be TOML", path, ConfigurationError):
        document = tomllib.loads(text)
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [part for value in level for part in _parts(value)]
    if level:
        raise ConfigurationError(f"tables and lists must nest at most {MAX_DEPTH} deep", str(path))
    return document


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _read_text(path: Path) -> str:
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        raise ConfigurationError(f"study file must exist, got {path}: write one with 'automl-transfer init'")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigurationError(
            f"a study file must have at most {MAX_BYTES:,} bytes, got {path.stat().st_size:,}",
            str(path),
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"must be UTF-8 text, got byte {error.start} undecodable", str(path)
        ) from None
    except OSError as error:
        raise ConfigurationError(f"must be readable, got: {error.strerror}", str(path)) from None


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _is_setting(value: Any) -> bool:
    """Whether a space setting has the right shape; what has not is reported by the validation."""
    parts = value if isinstance(value, tuple) else (value,)
    return all(
        isinstance(part, str | int) or (isinstance(part, float) and math.isfinite(part)) for part in parts
    )


def _put(document: dict[str, Any], keys: list[str], value: Any, mistakes: list[str]) -> None:
    place: Any = document
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            mistakes.append(f"{'.'.join(keys)}: {key} is a value, not a table")
            return
    place[keys[-1]] = value


def _said(keys: list[str], value: Any) -> Iterator[tuple[str, ...]]:
    """A key, and those of the tables that are its value."""
    yield tuple(keys)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _said([*keys, key], inner)


def _explain(error: ValidationError, lines: _Lines) -> list[str]:
    found: dict[str, str] = {}
    for item in error.errors():
        # A union reports once for every alternative; the key is what a person needs.
        location = [str(part) for part in item["loc"] if _is_key(part)]
        if location[:1] == ["space"]:
            location = location[:2]
        key = ".".join(location)
        received = "" if item["type"] == "missing" else f", got {_short(item['input'])}"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message, received = "unknown key", ": remove it or correct its name"
        if location[:1] == ["space"]:
            message = 'must be "search", a value, a list of choices or [low, high]'
        line = f"{key}: {message[0].lower()}{message[1:]}"
        found.setdefault(key, lines.put_before(line + ("" if ", got" in message else received), location))
    return list(found.values())


def _is_key(part: int | str) -> bool:
    return not (isinstance(part, str) and ("[" in part or part in ("str", "float", "int", "bool")))


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


class _Lines:
    """Finds the line of a key, as people write TOML; keys that were given elsewhere have none."""

    def __init__(self, text: str, elsewhere: set[tuple[str, ...]]) -> None:
        self._elsewhere = elsewhere
        self._keys: list[tuple[int, list[str]]] = []
        table: list[str] = []
        for number, line in enumerate(text.splitlines(), start=1):
            stripped = line.strip()
            if header := re.match(r"\[+\s*([^\]]+?)\s*\]+", stripped):
                table = [part.strip().strip('"') for part in header.group(1).split(".")]
                self._keys.append((number, table))
            elif key := re.match(r'"?([\w.\-]+)"?\s*=', stripped):
                self._keys.append((number, [*table, *key.group(1).split(".")]))

    def put_before(self, message: str, location: list[str]) -> str:
        number = self._line_of(location)
        return f"line {number}: {message}" if number else message

    def _line_of(self, location: list[str]) -> int | None:
        """The line of the longest part of a dotted key that the file has, its table alone not counted."""
        if not location or any(location[: len(keys)] == list(keys) for keys in self._elsewhere):
            return None
        found = [
            (len(keys), -number)
            for number, keys in self._keys
            if keys == location[: len(keys)] and len(keys) >= min(2, len(location))
        ]
        return -max(found)[1] if found else None


LONGEST = 100
"""Characters of a dataset's name and options in the name of its study."""


def study_spec(
    what: str,
    preset: str | None,
    settings: Sequence[str],
    *,
    name: str | None = None,
    data_root: Path | None = None,
    **given: Any,
) -> StudySpec:
    """Read `what` as a study file if it ends in .toml, else as a dataset under a preset (None: `quick`).

    A folder that is given as `.` or `..` has the name that it really has, below `data_root` or here. Columns
    that are given take the place of the file's for their roles alone.

    Raises:
        ConfigurationError: With every mistake.
    """
    if isinstance(columns := given.get("task__columns"), Mapping):
        del given["task__columns"]
        for role, column in columns.items():
            if (other := given.setdefault(f"task__columns__{role}", column)) != column:
                raise ConfigurationError(
                    f"task.columns.{role}: must be said once, got {column!r} and {other!r}: leave one of "
                    "them out"
                )
    if what.endswith(".toml"):
        if preset is not None:
            raise ConfigurationError(
                f"a preset must go with a dataset, got {preset!r} and the study file {what!r}, which says "
                "space and budget itself: leave --preset out"
            )
        return read_study(Path(what), settings, name=name, **given)
    for setting in settings:
        if setting.partition("=")[0].strip() == "task.dataset":
            raise ConfigurationError(
                f"a dataset must be named once, got {what!r} and --set {setting}: leave one of them out"
            )
    preset = preset or PRESETS[0]
    named = any(setting.partition("=")[0].strip() == "name" for setting in settings)
    name = derived_name(what, preset, data_root) if name is None and not named else name
    given["task__dataset"] = what
    # Nobody named the preset's file, and no mistake is in it.
    return read_study(preset_path(preset), settings, called=f"preset {preset}", name=name, **given)


def derived_name(dataset: str, what: str, data_root: Path | None = None) -> str:
    """A name for what is made of a dataset, such as `digits-per_class-20-quick`."""
    path, _, options = dataset.partition("?")
    base = Path(path.rstrip("/")).name or path
    if base.strip("./\\") == "":
        base = ((data_root or Path()) / path).resolve().name
    # A leading dot would hide the results.
    words = [base.lstrip(".") or "dataset", *re.findall(r"\w+", options)]
    return f"{presentable('-'.join(words), LONGEST)}-{what}"
