"""The contract of package formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from automl_transfer.recipes.packaging.description import PackageDescription

if TYPE_CHECKING:
    from automl_transfer.recipes.packaging.graph import Inference

Answers = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
"""A batch of images, as the description says, to (N, classes) logits or probabilities."""


class PackageFormat(ABC):
    """A kind of file.

    Obligations: what is written depends on the model and its description alone: no path, no name, no time
    of this machine, and nothing of the training. `open` runs what `write` wrote, as its reader would.

    Attributes:
        suffix: Of the file, with its dot.
        program: Whether the file holds the program itself, so that whoever runs it needs no network code.
    """

    suffix: str
    program: bool = True

    def check(self) -> None:  # noqa: B027  (most formats need nothing)
        """Raise ConfigurationError where something is not installed that the format needs."""

    @abstractmethod
    def write(self, model: Inference, description: PackageDescription, path: Path) -> None:
        """Write a file; the folder is there and the name is free."""

    @abstractmethod
    def open(self, path: Path) -> Answers:
        """Run a file that this process has written itself, on the CPU with torch's number of threads."""


def example_images(description: PackageDescription, count: int, seed: int = 0) -> npt.NDArray[Any]:
    """Random images of the shape and type that a package takes; the first one is black."""
    rng = np.random.default_rng(seed)
    shape = (count, *description.input_shape)
    if description.preprocessing:
        images: npt.NDArray[Any] = rng.integers(0, 256, shape, dtype=np.uint8)
    else:
        images = rng.standard_normal(shape, dtype=np.float32)
    images[0] = 0
    return images
