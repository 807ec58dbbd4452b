"""What may leave the machine: base names instead of paths, no addresses."""

from __future__ import annotations

import re

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
