"""The weights and how to build their network: for automl-transfer itself, `load` and `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from automl_transfer.errors import SourceError
from automl_transfer.files import reading, save_tensors
from automl_transfer.recipes.model_folder import fill
from automl_transfer.recipes.packaging.base import Answers, PackageFormat
from automl_transfer.recipes.packaging.description import KEY, PackageDescription, read

if TYPE_CHECKING:
    import torch

    from automl_transfer.models.heads import TargetModel
    from automl_transfer.recipes.packaging.graph import Inference
    from automl_transfer.transfer.together import Ensemble

COUNTER = "num_batches_tracked"
"""How many batches a norm layer was trained on: nothing that inference needs."""


class SafetensorsFile(PackageFormat):
    """`.safetensors`: tensors under their names, the description in the header."""

    suffix = ".safetensors"
    program = False

    def write(self, model: Inference, description: PackageDescription, path: Path) -> None:
        """All buffers but the counters of training."""
        tensors = {
            name: value.detach().cpu().contiguous().clone()
            for name, value in model.model.state_dict().items()
            if not name.endswith(COUNTER)
        }
        save_tensors(tensors, path, {KEY: description.to_json()})

    def open(self, path: Path) -> Answers:
        """The network, built and filled anew."""
        import torch

        from automl_transfer.recipes.packaging.graph import Inference

        model, described = load(path)
        normalisation = described.normalisation if described.preprocessing else None
        inference = Inference(model, normalisation, described.temperature or 1.0)

        def answers(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                return np.asarray(inference(torch.from_numpy(images)).numpy())

        return answers


def load(path: Path, device: torch.device | str = "cpu") -> tuple[TargetModel | Ensemble, PackageDescription]:
    """The network, or networks, of a packaged file, in evaluation mode and without a tunable parameter.

    Raises:
        SourceError: It is no such file, or its tensors do not fit its architecture; names them.
    """
    from safetensors import safe_open

    from automl_transfer.transfer.together import build_described

    rule = "a packaged model must be a safetensors file"
    with reading(rule, path, SourceError, "copy the file again"), safe_open(str(path), "pt") as file:
        stated = (file.metadata() or {}).get(KEY)
    if stated is None:
        raise SourceError(
            f"a packaged model must describe itself, got {path} without: make one with "
            "'automl-transfer package MODEL --format safetensors'"
        )
    described = read(stated, str(path))
    if described.network is None:
        raise SourceError(f"network: missing in the description of {path}")
    with reading("a model must be one that can be built", path, SourceError, "package it again"):
        model = build_described(
            described.network,
            described.network.members,
            in_channels=described.channels,
            classes=len(described.classes),
            resolution=described.resolution,
            flips=described.flips,
            device=device,
        )
    fill(model, path, described.network.architecture, optional=COUNTER)
    return model.requires_grad_(False).eval().to(device), described
