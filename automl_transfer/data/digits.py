"""digits: 1,797 handwritten digits of 8x8 pixels, from scikit-learn (UCI optical recognition, test part)."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from automl_transfer.data.arrays import ArrayInventory
from automl_transfer.data.base import DatasetKind, Inventory, Request


class Digits(DatasetKind):
    """Gray levels 0..16 become 0..255. Split by seed, stratified."""

    def open(self, request: Request) -> Inventory:
        """Read the images that scikit-learn carries."""
        from sklearn.datasets import load_digits

        data = load_digits()
        return ArrayInventory(
            name="digits",
            classes=tuple(str(digit) for digit in range(10)),
            labels=data.target.astype(np.int64),
            keys=tuple(f"digits/{row:04d}" for row in range(len(data.target))),
            signature=f"digits scikit-learn {version('scikit-learn')}",
            images=np.rint(data.images * (255.0 / 16.0)).astype(np.uint8),
        )
