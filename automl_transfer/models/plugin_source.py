"""Sources that other packages add, by the first part of their names."""

from __future__ import annotations

from automl_transfer import plugins
from automl_transfer.errors import ConfigurationError
from automl_transfer.models.base import Source

BUILT_IN = frozenset(
    {*(f"efficientnet-lite{number}" for number in range(3)), "scratch", "timm", "torchvision", "checkpoint"}
)
"""First parts that stay what they are, whatever plugins claim."""


def plugin_names() -> tuple[str, ...]:
    """Names that plugins add; nothing of theirs is imported."""
    return plugins.names("sources", BUILT_IN)


def is_from_plugin(name: str) -> bool:
    """Whether a plugin adds the source, or the architecture, of this name."""
    return name.partition("/")[0] in plugin_names()


def plugin_source(name: str) -> Source:
    """The source that a plugin adds: "tinynet", or "tinynet/...".

    Raises:
        ConfigurationError: The plugin is broken.
    """
    plugin = name.partition("/")[0]
    make = plugins.load("sources", plugin, callable, "a function or class that takes the source's name")
    source = plugins.made("sources", plugin, make, name)
    if not isinstance(source, Source):
        raise ConfigurationError(f"the plugin for the source {plugin!r} must give a Source, got {source!r}")
    return source
