"""A strategy as a row of a store: what differs from the defaults, so that it outlives the program.

    {"space": 2, "set": {"truncation": 5, "tune_mode": "head"}}

`space` is the version of the space that wrote it (`strategy.SPACE_VERSION`), `set` every dimension that is
not at its first default. A program reads every row whose dimensions and values it knows, whichever version
wrote it: a dimension that is not named is at the value where it does nothing new. Rows of the first programs
name every dimension, and no version.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from pydantic import ValidationError

from automl_transfer.domain.strategy import SPACE_VERSION, Strategy
from automl_transfer.domain.strict_json import mistakes, parse_json
from automl_transfer.errors import ConfigurationError, UnreadableRowError

MAX_CHARACTERS = 20_000


def store_strategy(strategy: Strategy) -> str:
    """A strategy's row; `read_strategy` gives the same one back."""
    first = strategy.first_defaults()
    changed = {n: v for n, v in strategy.model_dump(mode="json").items() if v != first[n]}
    return json.dumps({"space": SPACE_VERSION, "set": changed}, separators=(",", ":"))


def read_strategy(text: object) -> Strategy:
    """The strategy of a row.

    Raises:
        UnreadableRowError: This program cannot read it; `newer` where a later one can.
    """
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise UnreadableRowError(f"its strategy must be text of at most {MAX_CHARACTERS:,} characters")
    return _read(text)


@functools.lru_cache(maxsize=8192)
def _read(text: str) -> Strategy:
    """Remembered: whoever watches a study reads the same rows again and again."""
    version, changed = _parts(text)
    try:
        return Strategy.model_validate(Strategy.first_defaults() | changed, strict=True)
    except ValidationError as error:
        raise _unreadable("; ".join(mistakes(error)[:3]), version) from None


def _unreadable(found: str, version: int) -> UnreadableRowError:
    newer = version > SPACE_VERSION
    if newer:
        found = f"a newer automl-transfer wrote it (space {version}, this one knows {SPACE_VERSION}): {found}"
    return UnreadableRowError(f"its strategy cannot be read: {found}", newer=newer)


def _parts(text: str) -> tuple[int, dict[str, Any]]:
    """The version of the space and the dimensions that are named."""
    try:
        value = parse_json(text, "its strategy")
    except ConfigurationError as error:
        raise UnreadableRowError(str(error)) from None
    version = value.get("space", 1)
    changed = value.get("set") if "space" in value else value
    if type(version) is not int or version < 1 or not isinstance(changed, dict):
        raise UnreadableRowError(
            f'its strategy must be {{"space": VERSION, "set": {{...}}}}, got {text[:80]!r}'
        )
    if "space" in value and len(value) > 2:
        raise _unreadable(f"it must have no more fields than space and set, got {sorted(value)[:5]}", version)
    return version, changed
