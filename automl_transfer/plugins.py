"""What other packages add: datasets, sources and methods of strategies, found by their entry points.

A package declares them in its `pyproject.toml`:

    [project.entry-points."automl_transfer.datasets"]
    shells = "shells.dataset:Shells"            # a DatasetKind, or a class of one
    [project.entry-points."automl_transfer.sources"]
    tinynet = "shells.source:TinyNet"           # called with the name: "tinynet" or "tinynet/..."
    [project.entry-points."automl_transfer.initialisers"]
    dirac = "shells.init:dirac"                 # fills a tensor: (weight, source, generator) -> None

The groups of the other methods are `terms`, `mixes`, `phases`, `preparations` and `distortions` (see
`methods`).
`figures`, `launchers`, `metrics`, `scores` and `checks` (of the data doctor) are groups, too, and `found`:
datasets known by what lies at a path.

Only the registries look here, and only for names that are not built in. A plugin's code is imported when
its name is used: one that is broken troubles nobody else.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Set
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from automl_transfer.errors import ConfigurationError, UserError

Group = Literal[
    "datasets", "sources", "initialisers", "terms", "mixes", "phases", "preparations", "distortions",
    "figures", "launchers", "metrics", "found", "scores", "checks",
]  # fmt: skip

logger = logging.getLogger(__name__)

_used: dict[str, str] = {}


def names(group: Group, built_in: Set[str]) -> tuple[str, ...]:
    """Names that plugins add to a group, sorted; nothing of theirs is imported.

    A name that is built in already stays what it is; whoever claims it is warned about, once.
    """
    found = _declared(group)
    for name in sorted(found.keys() & built_in):
        _warn(
            f"the plugin {_who(found[name][0])} adds {name!r} to {group}, which is built in: it is left out"
        )
    return tuple(sorted(found.keys() - built_in))


def load(group: Group, name: str, check: Callable[[Any], bool], what: str) -> Any:
    """Import what a plugin adds under a name.

    Args:
        group: Where it is added.
        name: One of `names(group)`.
        check: Whether the object is of the right kind.
        what: The right kind, in words.

    Raises:
        ConfigurationError: The plugin is broken, or two of them claim the name; says whose they are.
    """
    points = _declared(group)[name]
    if len(points) > 1:
        raise ConfigurationError(
            f"one plugin may add {name!r} to {group}, got {' and '.join(map(_who, points))}: "
            "uninstall one of them"
        )
    try:
        found = points[0].load()
    # Another package's code: whatever it raises is its own trouble, and the user's to know.
    except Exception as error:
        raise ConfigurationError(
            f"the plugin {_who(points[0])} must load, to give {name!r} of {group}, got "
            f"{type(error).__name__}: {error}: repair or uninstall it"
        ) from error
    if not check(found):
        raise ConfigurationError(
            f"the plugin {_who(points[0])} must give {what} for {name!r} of {group}, got {found!r}"
        )
    if points[0].dist is not None:
        _used[points[0].dist.name] = points[0].dist.version
    return found


def chosen(group: Group, built_in: Mapping[str, str], name: str, what: str, *, noun: str) -> Any:
    """What a name stands for, imported now: built in (`module:attribute` below this package), or a plugin's.

    Args:
        group: Where other packages add such things.
        built_in: Ours.
        name: The name.
        what: What a plugin must give, in words.
        noun: What the name is of, for the message.

    Raises:
        ConfigurationError: There is none (the message lists all), or a plugin adds it and is broken.
    """
    check(group, built_in, name, noun=noun)
    if name in built_in:
        module, _, attribute = built_in[name].partition(":")
        return getattr(import_module(f"automl_transfer.{module}"), attribute)
    return load(group, name, callable, what)


def check(group: Group, built_in: Mapping[str, str], name: str, *, noun: str) -> None:
    """Raise ConfigurationError where nothing of this name is installed here; the message lists what is."""
    if name not in built_in and name not in (others := names(group, built_in.keys())):
        raise ConfigurationError(
            f"{noun} must be one of {', '.join((*built_in, *others))}, got {name!r}: correct the name, or "
            "install the package that adds it"
        )


def made(group: Group, name: str, make: Callable[..., Any], *arguments: Any) -> Any:
    """Call what a plugin adds under a name.

    Raises:
        ConfigurationError: It raises something of its own.
        UserError: It refuses the arguments with one of our errors.
    """
    try:
        return make(*arguments)
    except UserError:
        raise
    # Another package's code, as above.
    except Exception as error:
        raise ConfigurationError(
            f"the plugin {_who(_declared(group)[name][0])} must give {name!r} of {group}, got "
            f"{type(error).__name__}: {error}: repair or uninstall it"
        ) from error


def used() -> dict[str, str]:
    """Packages whose plugins this process has used, with their versions."""
    return dict(_used)


def _who(point: EntryPoint) -> str:
    dist = point.dist
    return f"{dist.name} {dist.version} ({point.value})" if dist is not None else point.value


@functools.cache
def _declared(group: Group) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"automl_transfer.{group}"):
        # An editable installation may list itself twice.
        known = found.setdefault(point.name, [])
        if all(point.value != other.value for other in known):
            known.append(point)
    return found


@functools.cache
def _warn(text: str) -> None:
    logger.warning(text)
