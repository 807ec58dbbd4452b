"""What a name may be: of a study, a dataset, a class. One rule, checked before anything is written.

Files that are written hold these names, so their readers allow as much: what passes here can be shipped and
read again. Where a name goes to a terminal or a page, control characters are filtered there as well.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

MAX_NAME = 200
"""Characters of a study's name, which is also its folder's."""
MAX_LABEL = 500
"""Characters of a dataset's or a class's name."""
MAX_CLASSES = 100_000
MAX_LABELS_BYTES = 5_000_000
"""All class names together, as JSON: half of what a reader of files takes (`strict_json.MAX_BYTES`)."""

_UNWRITABLE = {"Cc": "a control character", "Cs": "half a character", "Zl": "a line end", "Zp": "a line end"}


def name_mistake(name: str, longest: int = MAX_LABEL) -> str | None:
    """What is wrong with a name of at most `longest` characters; None where nothing is."""
    if not name:
        return "must not be empty, got ''"
    if len(name) > longest:
        return f"must have at most {longest} characters, got {len(name)} in {name[:40]!r}..."
    for char in name:
        if (what := _UNWRITABLE.get(unicodedata.category(char))) is not None:
            return f"must not hold {what}, got {name[:80]!a}"
    return None


def presentable(name: str, longest: int) -> str:
    r"""What of a text can be part of a name: where one is derived from it, and nobody chose it.

    >>> presentable("photos of\tcats", 14)
    'photos of-cats'
    """
    return "".join("-" if unicodedata.category(char) in _UNWRITABLE else char for char in name[:longest])


def study_mistake(name: str) -> str | None:
    """What is wrong with the name of a study, which is a folder's name too; None where nothing is."""
    if "/" in name or "\\" in name or name in (".", ".."):
        return f"must be usable as a folder's name, without slashes, got {name[:80]!r}"
    return name_mistake(name, MAX_NAME)


def classes_mistake(classes: Sequence[str]) -> str | None:
    """What is wrong with the names of classes, or None."""
    if len(classes) > MAX_CLASSES:
        return f"there must be at most {MAX_CLASSES:,} classes, got {len(classes):,}"
    for name in classes:
        if (mistake := name_mistake(name)) is not None:
            return f"a class name {mistake}"
    size = len(json.dumps(classes, ensure_ascii=False, indent=2).encode())
    if size > MAX_LABELS_BYTES:
        return f"all class names together must have at most {MAX_LABELS_BYTES:,} bytes, got {size:,}"
    return None
