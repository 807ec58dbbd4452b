"""Model folders that automl-transfer wrote, as sources for the next task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.domain.model_description import (
    DESCRIPTION,
    WEIGHTS,
    ModelDescription,
    read_description,
)
from automl_transfer.domain.normalisation import FixedNormalisation
from automl_transfer.domain.task import scaled
from automl_transfer.errors import SourceError
from automl_transfer.files import kind_at
from automl_transfer.models.base import Source, SourceInfo, check_channels, file_sha256

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone


class ModelFolderSource(Source):
    """`checkpoint/@FOLDER`: the layer groups of an earlier run's model, without its head."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        if kind_at(folder / DESCRIPTION, "a model folder", SourceError) != "file":
            raise SourceError(
                f"checkpoint/@FOLDER must name a folder with {DESCRIPTION}, {folder} has none: "
                "a plain weights file is named checkpoint/ARCHITECTURE@PATH"
            )
        self.description = read_description(folder)
        if self.description.members:
            raise SourceError(
                f"a source must be one network, {folder} is an ensemble of {len(self.description.members)}: "
                "ship one with 'automl-transfer export STUDY --as winner' (or soup), and name that folder"
            )
        if self.description.adapter:
            raise SourceError(
                f"a source must be a plain network, {folder} holds adapters of width "
                f"{self.description.adapter}: ship a model of another tune_mode, and name that folder"
            )
        self.weights = folder / WEIGHTS
        if kind_at(self.weights, "a model folder's weights", SourceError) != "file":
            raise SourceError(f"a model folder must hold {WEIGHTS}, {folder} has none: export it again")

    def info(self) -> SourceInfo:
        """From `model.json`."""
        described = self.description
        return SourceInfo(
            name=self.name,
            architecture=described.architecture,
            licence="that of the source and the images it was trained with",
            size_bytes=self.weights.stat().st_size,
            available=True,
            revision=described.weights_sha256[:12],
            note=f"{described.groups_kept} groups, trained on {len(described.classes)} classes",
        )

    def sha256(self) -> str | None:
        """Of `model.safetensors`."""
        return file_sha256(self.weights)

    def load(self, in_channels: int, *, allow_download: bool = True) -> Backbone:
        """The groups that the earlier model kept, with its weights."""
        from automl_transfer.models.architectures import build_architecture
        from automl_transfer.models.network import Backbone, adapt_channels
        from automl_transfer.models.weights import fit, read_weights

        check_channels(in_channels)
        described = self.description
        digest = file_sha256(self.weights)
        if digest != described.weights_sha256:
            raise SourceError(
                f"{self.weights} must have the sha256 {described.weights_sha256} that model.json states, "
                f"got {digest}: the folder is damaged or was changed, export it again"
            )
        whole = build_architecture(described.architecture, described.in_channels)
        kept = described.groups_kept
        if kept > len(whole.groups):
            raise SourceError(
                f"groups_kept must be <= {len(whole.groups)} for {described.architecture}, got {kept}: "
                f"{self.folder / 'model.json'} does not belong to its weights"
            )
        mean, std, notes = _normalisation(described, whole)
        backbone = Backbone(
            whole.architecture,
            list(whole.groups)[:kept],
            whole.group_notes[:kept],
            in_channels=in_channels,
            mean=mean,
            std=std,
            resolution=scaled(described.resolution, described.resolution_scale),
            pretrained=True,
            prefix_tokens=whole.prefix_tokens,
            notes=(f"the head for {len(described.classes)} classes is not used", *notes),
        )
        state = read_weights(self.weights)
        fit(backbone, {k: v for k, v in state.items() if not k.startswith("head.")}, str(self.weights))
        adapt_channels(backbone, in_channels)
        backbone.eval()
        return backbone


def _normalisation(
    described: ModelDescription, whole: Backbone
) -> tuple[Sequence[float], Sequence[float], tuple[str, ...]]:
    stated = described.normalisation
    if isinstance(stated, FixedNormalisation):
        times = 3 // described.in_channels
        return stated.mean * times, stated.std * times, ()
    return whole.mean, whole.std, ("it was trained with each image normalised by itself",)
