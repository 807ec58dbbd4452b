"""A dataset of another package: striped and spotted shells."""

from types import MappingProxyType

import numpy as np

from automl_transfer.data.arrays import ArrayInventory
from automl_transfer.data.base import DatasetKind


class Shells(DatasetKind):
    """`shells`, or `shells?count=30`: images a class."""

    options = MappingProxyType({"count": "images a class"})

    def open(self, request):
        count = int(request.options.get("count", "40"))
        rng = np.random.default_rng(0)
        images = rng.integers(0, 60, (2 * count, 16, 16), dtype=np.uint8)
        images[:count, ::4] += 180  # stripes
        for image in images[count:]:
            image[tuple(rng.integers(0, 16, (2, 24)))] = 250  # spots
        return ArrayInventory(
            name=f"shells?count={count}",
            classes=("striped", "spotted"),
            labels=np.repeat(np.arange(2), count),
            keys=tuple(f"shells/{row}" for row in range(2 * count)),
            signature=f"shells 1.0 {count}",
            images=images,
        )
