"""A local weights file of a named architecture."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.errors import SourceError
from automl_transfer.files import kind_at
from automl_transfer.models.architectures import (
    assemble,
    create_network,
    preprocessing,
    split_architecture,
)
from automl_transfer.models.base import Source, SourceInfo, check_channels, file_sha256
from automl_transfer.models.known import unchanged

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone

log = logging.getLogger(__name__)


class CheckpointSource(Source):
    """`checkpoint/ARCHITECTURE@PATH`, for instance checkpoint/timm/resnet18@weights/net.safetensors."""

    def __init__(self, name: str, architecture: str, path: Path) -> None:
        self.name = name
        self.architecture = architecture
        self.path = path
        split_architecture(architecture)
        if (there := kind_at(path, "a checkpoint", SourceError)) != "file":
            what = "a folder (name a model folder as checkpoint/@FOLDER)" if there == "folder" else "missing"
            raise SourceError(f"a checkpoint must be a file on this machine, {path} is {what}")

    def info(self) -> SourceInfo:
        """The file's size; whose weights they are, only its owner knows."""
        return SourceInfo(
            name=self.name,
            architecture=self.architecture,
            licence="unknown: your file",
            size_bytes=self.path.stat().st_size,
            available=True,
            revision=None,
            note="local file",
        )

    def sha256(self) -> str | None:
        """Of the file."""
        return file_sha256(self.path)

    def weights_file(self) -> Path | None:
        """The file."""
        return self.path

    def load(self, in_channels: int, *, allow_download: bool = True) -> Backbone:
        """Every tensor must fit, by name or else in order.

        Only a classifier of another number of classes is left out, with a note.
        """
        from automl_transfer.models.families.registry import cut
        from automl_transfer.models.network import adapt_channels, first_convolution
        from automl_transfer.models.weights import check_size, fit, named_in_order, read_weights

        check_channels(in_channels)
        model = create_network(self.architecture)
        classifier = cut(model).classifier_names(model)
        check_size(self.path, model)
        read = read_weights(unchanged(self.path, self.name))
        state, order = named_in_order(model, read, self.path, ignorable=classifier)
        for note in order:
            log.warning("%s", note)
        name, _ = first_convolution(model)
        weight = state.get(f"{name}.weight")
        if weight is not None and weight.dim() == 4 and weight.shape[1] == 1:
            adapt_channels(model, 1)  # a network that was trained on gray images
        notes = order + fit(model, state, str(self.path), ignorable=classifier)
        backbone, _ = assemble(
            model,
            self.architecture,
            in_channels,
            preprocessing(self.architecture),
            pretrained=True,
            notes=notes,
            classifies=bool(classifier) and not notes,
        )
        return backbone
