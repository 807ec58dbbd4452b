"""digits: 1,797 handwritten digits of 8x8 pixels, from scikit-learn (UCI optical recognition, test part)."""

from __future__ import annotations

from importlib.metadata import distribution

import numpy as np

from automl_transfer.data.arrays import ArrayInventory
from automl_transfer.data.base import DatasetKind, Inventory, Request
from automl_transfer.errors import DataError

FILE = "sklearn/datasets/data/digits.csv.gz"


class Digits(DatasetKind):
    """Gray levels 0..16 become 0..255. Split by seed, stratified."""

    def open(self, request: Request) -> Inventory:
        """Read the images that scikit-learn carries; its own reader would load all of scikit-learn first.

        Raises:
            DataError: They are not where scikit-learn keeps them.
        """
        package = distribution("scikit-learn")
        try:
            rows = np.loadtxt(str(package.locate_file(FILE)), delimiter=",", dtype=np.uint8)
        except OSError as error:
            raise DataError(
                f"dataset digits needs the file {FILE} of scikit-learn, got {error.strerror or error}: "
                "install scikit-learn again"
            ) from error
        images, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
        return ArrayInventory(
            name="digits",
            classes=tuple(str(digit) for digit in range(10)),
            labels=labels.astype(np.int64),
            keys=tuple(f"digits/{row:04d}" for row in range(len(labels))),
            signature=f"digits scikit-learn {package.version}",
            images=np.rint(images * (255.0 / 16.0)).astype(np.uint8),
            label_preserving=(),
        )
