"""The folder `model/`: weights, description and card, written whole and checked when read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.domain.model_description import (
    CARD,
    DESCRIPTION,
    FILES,
    WEIGHTS,
    Calibration,
    ModelDescription,
    read_description,
)
from automl_transfer.domain.normalisation import Constants, facts
from automl_transfer.domain.pixel_range import Fit, PixelRange
from automl_transfer.errors import OutputError, SourceError
from automl_transfer.files import file_sha256, kind_at, reading, save_tensors
from automl_transfer.recipes.best_strategy import Recipe
from automl_transfer.recipes.model_card import model_card
from automl_transfer.recipes.output import whole_folder, write_text

if TYPE_CHECKING:
    import torch

    from automl_transfer.models.heads import TargetModel
    from automl_transfer.transfer.together import Ensemble


def save_model(
    folder: Path,
    model: TargetModel | Ensemble,
    *,
    architecture: str,
    in_channels: int,
    resolution: int,
    classes: tuple[str, ...],
    normalisation: Constants | None,
    pixel_range: PixelRange | None = None,
    fit: Fit = "squash",
    recipe: Recipe,
    calibration: Calibration | None = None,
    replace: bool = False,
) -> ModelDescription:
    """Write a model folder under a temporary name, then rename it.

    `replace` allows an earlier model folder to be there, never a folder that holds anything else.

    Raises:
        OutputError: Something is in the way or cannot be written; what was there is as it was.
    """
    from automl_transfer.transfer.together import structure

    if replace:
        check_model_folder(folder)
    with whole_folder(folder, replace=replace) as temporary:
        weights = temporary / WEIGHTS
        # Copies: two names for one memory cannot be stored.
        save_tensors(
            {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()},
            weights,
        )
        description = ModelDescription(
            **structure(model, architecture),
            in_channels=in_channels,
            resolution=resolution,
            classes=classes,
            normalisation=facts(normalisation),
            pixel_range=pixel_range,
            fit=fit,
            weights_sha256=file_sha256(weights),
            identity=recipe.provenance.identity,
            calibration=calibration,
        )
        write_text(temporary / DESCRIPTION, description.to_json())
        write_text(temporary / CARD, model_card(description, recipe))
    return description


def restate_model(folder: Path, recipe: Recipe) -> None:
    """Write what a model folder says of its recipe anew; its weights stay as they are.

    Raises:
        SourceError: Not a model folder.
        OutputError: It cannot be written.
    """
    description = read_description(folder).model_copy(update={"identity": recipe.provenance.identity})
    write_text(folder / DESCRIPTION, description.to_json())
    write_text(folder / CARD, model_card(description, recipe))


def load_model(
    folder: Path, device: torch.device | str = "cpu"
) -> tuple[TargetModel | Ensemble, ModelDescription]:
    """Read a model folder: the network, or networks, in evaluation mode on `device`, and its description.

    Raises:
        SourceError: Not a model folder, weights that are not those of the description (sha256), or
            tensors that do not fit the architecture; names them.
    """
    description = read_description(folder)
    weights = folder / WEIGHTS
    try:
        digest = file_sha256(weights)
    except OSError as error:
        raise SourceError(f"a model folder must hold {WEIGHTS}, got {folder}: {error.strerror}") from error
    if digest != description.weights_sha256:
        raise SourceError(
            f"{weights} must have the sha256 of {DESCRIPTION} ({description.weights_sha256[:16]}...), "
            f"got {digest[:16]}...: the files do not belong together or one is damaged; copy the folder again"
        )
    with reading("a model must be one that can be built", folder, SourceError, "copy the folder again"):
        model = _build(description, device)
    fill(model, weights, description.architecture)
    return model.eval().to(device), description


def check_model_folder(folder: Path) -> None:
    """Refuse to replace what is no model folder; hidden files, as systems leave them, do not count.

    Raises:
        OutputError: There is something else.
    """
    there = kind_at(folder, "the output", OutputError)
    if there is None:
        return
    names = {entry.name for entry in folder.iterdir()} if there == "folder" else {"a file"}
    others = sorted(name for name in names - FILES if not name.startswith("."))
    if others:
        raise OutputError(
            f"only a model folder is replaced, got {folder} with {', '.join(others[:3])}: move it away, or "
            "choose another output"
        )


def _build(description: ModelDescription, device: torch.device | str) -> TargetModel | Ensemble:
    from automl_transfer.transfer.together import build_described

    return build_described(
        description,
        description.members,
        in_channels=description.in_channels,
        classes=len(description.classes),
        resolution=description.resolution,
        flips=description.flips,
        device=device,
    )


def fill(model: TargetModel | Ensemble, weights: Path, architecture: str, *, optional: str = "") -> None:
    """Put the tensors of a safetensors file into a model, in place.

    `optional` is the end of names that the file may lack: these tensors stay as they are.

    Raises:
        SourceError: The file cannot be read, or does not fit; names what is wrong.
    """
    from safetensors.torch import load_file

    with reading("weights must be a safetensors file", weights, SourceError, "copy the file again"):
        stored = load_file(str(weights))
    expected = model.state_dict()
    if optional:
        stored = {name: value for name, value in expected.items() if name.endswith(optional)} | stored
    mistakes = [f"{name}: missing" for name in expected if name not in stored]
    mistakes += [f"{name}: unknown" for name in stored if name not in expected]
    mistakes += [
        f"{name}: {tuple(value.shape)} {value.dtype} must be "
        f"{tuple(expected[name].shape)} {expected[name].dtype}"
        for name, value in stored.items()
        if name in expected and (value.shape != expected[name].shape or value.dtype != expected[name].dtype)
    ]
    if mistakes:
        shown = "; ".join(mistakes[:5]) + (f"; and {len(mistakes) - 5} more" if len(mistakes) > 5 else "")
        raise SourceError(f"the weights in {weights} must fit {architecture}, got {shown}")
    model.load_state_dict(stored)
