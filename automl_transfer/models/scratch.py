"""No weights: an architecture with its own random initialisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_transfer.domain.dimensions import Trait
from automl_transfer.models.architectures import (
    architecture_traits,
    build_architecture,
    has_timm,
    split_architecture,
)
from automl_transfer.models.base import Source, SourceInfo
from automl_transfer.models.packaged import TRAITS as LITE0_TRAITS

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone

DEFAULT_ARCHITECTURE = "timm/tf_efficientnet_lite0"


class ScratchSource(Source):
    """`scratch`, `scratch/timm/NAME` or `scratch/torchvision/NAME`."""

    def __init__(self, name: str, architecture: str | None = None) -> None:
        self.name = name
        self.architecture = architecture or DEFAULT_ARCHITECTURE
        if architecture is not None:
            split_architecture(architecture)

    def info(self) -> SourceInfo:
        """Nothing to download: it is available where its library is installed."""
        available = not self.architecture.startswith("timm/") or has_timm()
        return SourceInfo(
            name=self.name,
            architecture=self.architecture,
            licence="none needed",
            size_bytes=None,
            available=available,
            revision=None,
            note="no weights: trained from random" if available else "needs the timm extra",
        )

    def sha256(self) -> str | None:
        """None: there is no file."""
        return None

    def traits(self) -> frozenset[Trait]:
        """Those of its architecture; a random classifier is none."""
        if self.architecture == DEFAULT_ARCHITECTURE:
            return LITE0_TRAITS
        return architecture_traits(self.architecture)

    def load(self, in_channels: int, *, allow_download: bool = True) -> Backbone:
        """The architecture with random weights, drawn from torch's global generator."""
        return build_architecture(self.architecture, in_channels)
