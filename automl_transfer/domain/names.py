"""What a name may be, of a study, a dataset, a class, and what of it may leave the machine.

Files that are written hold these names, so their readers allow as much: what passes here can be shipped and
read again. Where a name goes to a terminal or a page, control characters are filtered there as well.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
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


def check_different(classes: Sequence[str]) -> None:
    """Refuse names of classes of which two are the same: an answer would not say which is meant.

    Raises:
        ValueError: They are.
    """
    if len(set(classes)) < len(classes):
        twice = next(name for name, count in Counter(classes).items() if count > 1)
        raise ValueError(f"the names of classes must differ, got {twice[:80]!r} twice")


CHECKPOINT = "checkpoint/"

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
_PATH = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?(?:[\\/][^\s\\/,;:'\"]+)+[\\/]?")
PLACE = r"^(?:~?[\\/]|~[^\\/]+[\\/]|[A-Za-z]:[\\/]|\.\.?[\\/])|://"
"""What a path or an address looks like where a name belongs."""
_LEADS_AWAY = re.compile(PLACE)


def public_source(name: str) -> str:
    """A source's name without where its file lies.

    >>> public_source("checkpoint/timm/resnet18@/home/ann/net.safetensors")
    'checkpoint/timm/resnet18@net.safetensors'
    >>> public_source("timm/resnet18.a1_in1k")
    'timm/resnet18.a1_in1k'
    """
    if not name.startswith(CHECKPOINT):
        return name
    architecture, at, place = name.partition("@")
    return architecture + at + base_name(place)


def public_name(name: str) -> str:
    """A name, cut to its base name where it is really a path or an address."""
    return base_name(name) if is_local(name) else name


def base_name(place: str) -> str:
    """The last part of a path or URL, whichever system wrote it, without a query."""
    without_query = place.split("?", 1)[0].split("#", 1)[0] if "://" in place else place
    parts = [part for part in re.split(r"[\\/]+", without_query) if part]
    return parts[-1] if parts else "unnamed"


def public_text(text: str) -> str:
    """A sentence in which paths are cut to their base names and addresses are left out.

    >>> public_text("MIT, see https://me:secret@host/licence or /home/ann/LICENSE")
    'MIT, see (address left out) or LICENSE'
    """
    without = _ADDRESS.sub("(address left out)", text)
    return _PATH.sub(lambda match: base_name(match.group()), without)


def is_local(name: str) -> bool:
    """Whether a name is really a path or an address.

    >>> [is_local(name) for name in ("digits", "/data/cats", "../cats", "sqlite:///a.db", "timm/resnet18")]
    [False, True, True, True, False]
    """
    place = name.partition("@")[2] if name.startswith(CHECKPOINT) else None
    return bool(_LEADS_AWAY.search(name)) or (place is not None and base_name(place) != place)
