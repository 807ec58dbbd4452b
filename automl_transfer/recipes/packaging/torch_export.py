"""An exported program of PyTorch: runs without automl-transfer, timm or torchvision."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from automl_transfer.recipes.packaging.base import Answers, PackageFormat, example_images
from automl_transfer.recipes.packaging.description import KEY, PackageDescription

if TYPE_CHECKING:
    from automl_transfer.recipes.packaging.graph import Inference

EXTRA = f"{KEY}.json"


class TorchExport(PackageFormat):
    """`.pt2`: `torch.export.load(FILE).module()(images)`; any number of images."""

    suffix = ".pt2"

    def write(self, model: Inference, description: PackageDescription, path: Path) -> None:
        """The program, the description beside it."""
        import torch

        from automl_transfer.recipes.packaging.graph import program

        exported = program(model, torch.from_numpy(example_images(description, 2)))
        # By way of a buffer: a file's own name would stand inside the archive.
        archive = io.BytesIO()
        torch.export.save(exported, archive, extra_files={EXTRA: description.to_json()})
        path.write_bytes(archive.getvalue())

    def open(self, path: Path) -> Answers:
        """Load the program. Only for own files: a foreign .pt2 is not to be trusted."""
        import torch

        module = torch.export.load(io.BytesIO(path.read_bytes())).module()

        def answers(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                return np.asarray(module(torch.from_numpy(images)).numpy())

        return answers
