"""Sources by name: the one place that parses source names.

A new kind of source is one file with a `Source` and one line in `_KINDS`, or a plugin of another package.

    efficientnet-lite0, efficientnet-lite1, efficientnet-lite2    packaged ImageNet weights
    scratch, scratch/timm/NAME, scratch/torchvision/NAME
    timm/NAME, timm/NAME.TAG                 downloaded by timm's names
    torchvision/WEIGHTS_ENUM.MEMBER          downloaded by torchvision's names
    checkpoint/ARCHITECTURE@PATH             a local file: checkpoint/timm/resnet18@weights/net.safetensors
    checkpoint/@FOLDER                       a model folder that automl-transfer wrote
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from automl_transfer.domain.dimensions import Trait
from automl_transfer.errors import SourceError
from automl_transfer.machine import path_of
from automl_transfer.models import catalogue
from automl_transfer.models.architectures import build_architecture, unknown
from automl_transfer.models.base import Source, SourceInfo, is_from_plugin, plugin_names, plugin_source
from automl_transfer.models.checkpoint import CheckpointSource
from automl_transfer.models.model_folder import ModelFolderSource
from automl_transfer.models.packaged import PACKAGED, PackagedSource
from automl_transfer.models.scratch import ScratchSource
from automl_transfer.models.timm_hub import TimmSource
from automl_transfer.models.torchvision_hub import TorchvisionSource

__all__ = ["FORMS", "build_architecture", "get_source", "list_sources", "source_traits"]

FORMS = (
    *PACKAGED,
    "scratch",
    "scratch/timm/NAME",
    "scratch/torchvision/NAME",
    "timm/NAME[.TAG]",
    "torchvision/WEIGHTS_ENUM.MEMBER",
    "checkpoint/ARCHITECTURE@PATH",
    "checkpoint/@MODEL_FOLDER",
)


def _checkpoint(name: str) -> Source:
    architecture, at, path = name.removeprefix("checkpoint/").partition("@")
    if not at or not path:
        raise SourceError(
            "a checkpoint must be named checkpoint/ARCHITECTURE@PATH or checkpoint/@MODEL_FOLDER, "
            f"got {name!r}: for instance checkpoint/timm/resnet18@weights/net.safetensors"
        )
    where = path_of(path)
    return CheckpointSource(name, architecture, where) if architecture else ModelFolderSource(name, where)


_KINDS: dict[str, Callable[[str], Source]] = {
    **dict.fromkeys(PACKAGED, PackagedSource),
    "scratch": ScratchSource,
    "scratch/": lambda name: ScratchSource(name, name.removeprefix("scratch/")),
    "timm/": TimmSource,
    "torchvision/": TorchvisionSource,
    "checkpoint/": _checkpoint,
}
"""Whole names, and prefixes that end in a slash."""

logger = logging.getLogger(__name__)


def get_source(name: str) -> Source:
    """The source of this name; reads no weights and never uses the network.

    Raises:
        SourceError: There is none; says what is possible and which names are close.
        ConfigurationError: A plugin adds it, and is broken.
    """
    if "\0" in name:
        raise SourceError(f"a source name must not hold a null character, got {name!r}")
    prefix = name.partition("/")[0] + "/" if "/" in name else name
    kind = _KINDS.get(prefix)
    if kind is None and is_from_plugin(name):
        return plugin_source(name)
    if kind is None:
        known = [*PACKAGED, "scratch", *plugin_names(), *(entry.name for entry in catalogue.RECOMMENDED)]
        raise SourceError(unknown("source", name, known, extra=f"; a source is one of {', '.join(FORMS)}"))
    return kind(name)


@functools.cache
def source_traits(name: str) -> frozenset[Trait]:
    """What the network of the source of this name has that some methods need.

    Raises:
        SourceError: There is no such source, or its weights must be read to know and are not here.
    """
    return get_source(name).traits()


def list_sources() -> list[SourceInfo]:
    """Scratch, packaged sources, those of plugins and recommended ones; imports neither torch nor timm.

    A broken plugin is left out, with a warning that names it.
    """
    named = [*(PackagedSource(name).info() for name in PACKAGED), ScratchSource("scratch").info()]
    for plugin in plugin_names():
        try:
            named.append(plugin_source(plugin).info())
        # Another package's code, for a list that must not fail because of it.
        except Exception as error:
            logger.warning("the source %r is left out: %s", plugin, error)
    return named + [entry.info() for entry in catalogue.RECOMMENDED]
