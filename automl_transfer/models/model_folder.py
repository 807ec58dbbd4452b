"""Model folders that automl-transfer wrote, as sources for the next task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from automl_transfer.errors import SourceError
from automl_transfer.models.base import Source, SourceInfo, check_channels, file_sha256

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone

SCHEMA = "automl-transfer/model/1"


class Description(BaseModel):
    """What `model.json` states, as far as a source needs it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    architecture: str = Field(min_length=1)
    groups_kept: int = Field(ge=1)
    in_channels: int = Field(ge=1, le=3)
    resolution: int = Field(ge=1)
    classes: tuple[str, ...]
    normalisation: dict[str, Any]
    weights_sha256: str


class ModelFolderSource(Source):
    """`checkpoint/@FOLDER`: the layer groups of an earlier run's model, without its head."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.description = read_description(folder)
        self.weights = folder / "model.safetensors"
        if not self.weights.is_file():
            raise SourceError(
                f"a model folder must hold model.safetensors, {folder} has none: export it again"
            )

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
        from automl_transfer.models.channels import adapt_channels
        from automl_transfer.models.network import Backbone
        from automl_transfer.models.scratch import build_architecture
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
            resolution=described.resolution,
            pretrained=True,
            prefix_tokens=whole.prefix_tokens,
            notes=(f"the head for {len(described.classes)} classes is not used", *notes),
        )
        state = read_weights(self.weights)
        fit(backbone, {k: v for k, v in state.items() if not k.startswith("head.")}, str(self.weights))
        adapt_channels(backbone, in_channels)
        backbone.eval()
        return backbone


def read_description(folder: Path) -> Description:
    """Read and check `model.json`.

    Raises:
        SourceError: It is missing, of another schema, or wrong; all mistakes are listed.
    """
    path = folder / "model.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SourceError(
            f"checkpoint/@FOLDER must name a folder with model.json, {folder} has none: "
            "a plain weights file is named checkpoint/ARCHITECTURE@PATH"
        ) from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} must be readable JSON, it is not: {error}") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise SourceError(f"the schema of {path} must be {SCHEMA}, got {schema!r}: export the model again")
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SourceError(f"{path} must describe a model, it does not: {mistakes}") from error


def _normalisation(
    described: Description, whole: Backbone
) -> tuple[Sequence[float], Sequence[float], tuple[str, ...]]:
    stated = described.normalisation
    if stated.get("kind") == "fixed":
        try:
            mean = [float(value) for value in stated["mean"]]
            std = [float(value) for value in stated["std"]]
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"a fixed normalisation must have mean and std, got {stated}") from error
        if len(mean) == len(std) and len(mean) in (1, 3):
            return mean * (3 // len(mean)), std * (3 // len(std)), ()
        raise SourceError(f"a fixed normalisation must have 1 or 3 means and as many stds, got {stated}")
    return whole.mean, whole.std, ("it was trained with each image normalised by itself",)
