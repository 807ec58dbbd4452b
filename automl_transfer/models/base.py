"""The contract of sources: what a pretrained network states about itself, how it is loaded; plugins, too."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer import files, plugins
from automl_transfer.domain.dimensions import Trait
from automl_transfer.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone


@dataclass(frozen=True)
class SourceInfo:
    """What a person wants to know before a source is used.

    Attributes:
        name: What `get_source` and study files take.
        architecture: What `build_architecture` takes.
        licence: SPDX identifier of the weights' licence, or a sentence.
        size_bytes: Of the weights file; None where it is not known before the download.
        available: Whether `load` works on this machine without a network.
        revision: Which version of the weights; None where there is none to state.
        note: One sentence for people.
    """

    name: str
    architecture: str
    licence: str
    size_bytes: int | None
    available: bool
    revision: str | None
    note: str


class Source(ABC):
    """A backbone with its weights, layer groups and preprocessing.

    Obligations of every source: all methods may be called any number of times, from several
    processes at once; none leaves a half-written file; everything that is wrong with the weights is
    raised as `SourceError` with what to do; nothing is unpickled that could run code.
    """

    name: str

    @abstractmethod
    def info(self) -> SourceInfo:
        """Facts about the source. Cheap: reads no weights and never uses the network."""

    @abstractmethod
    def sha256(self) -> str | None:
        """Hex digest of the weights file; None for scratch and for weights not on this machine yet."""

    @abstractmethod
    def load(self, in_channels: int, *, allow_download: bool = True) -> Backbone:
        """Build the backbone: evaluation mode, float32, on the CPU, first layer for `in_channels`.

        The weights are checked, and the layer groups are proven to compute what the whole network
        computes. Each call returns a new backbone that shares no tensors with others.

        Args:
            in_channels: 1 or 3.
            allow_download: Whether weights that are not on this machine may be fetched.

        Raises:
            SourceError: The weights are missing, cannot be fetched, are damaged or do not fit.
        """

    def weights_file(self) -> Path | None:
        """The file whose sha256 is written down at its first use (`known`); None where it is known anyway."""
        return None

    def traits(self) -> frozenset[Trait]:
        """What its network has that some methods need.

        Raises:
            SourceError: The weights must be read to know, and are not on this machine.
        """
        from automl_transfer.models.traits import traits_of

        return traits_of(self.load(3, allow_download=False))

    def build(self, in_channels: int) -> Backbone:
        """The same network with random weights, to be filled from a model folder.

        Needed only where the backbone's `architecture` is none of timm's or torchvision's: it is then
        the source's own name, and model folders are built by this method.

        Raises:
            SourceError: The source does not build its network.
        """
        raise SourceError(
            f"the source {self.name} must build its own architecture, it does not: "
            "give its backbone the architecture timm/NAME or torchvision/NAME, or write `build`"
        )


def check_channels(in_channels: int) -> None:
    """Refuse anything but gray and RGB.

    Raises:
        SourceError: `in_channels` is neither 1 nor 3.
    """
    if in_channels not in (1, 3):
        raise SourceError(
            f"in_channels must be 1 (gray) or 3 (RGB), got {in_channels!r}: convert the images first"
        )


def file_sha256(path: Path) -> str:
    """Hex digest of a file; remembered as long as its size and time stamp stay the same.

    Raises:
        SourceError: It cannot be read.
    """
    with files.reading("a file of weights must be readable", path, SourceError):
        state = path.stat()
        return _digest(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # they only key the cache
    return files.file_sha256(path)


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
