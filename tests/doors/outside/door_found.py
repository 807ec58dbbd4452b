"""Datasets that another package finds: files *.tiles, whose every 257 bytes are a label and 16 x 16 pixels."""

import hashlib

import numpy as np

from automl_transfer.data.arrays import ArrayInventory
from automl_transfer.data.base import DatasetKind


class Tiles(DatasetKind):
    def finds(self, path):
        return path.suffix == ".tiles"

    def open(self, request):
        stored = request.location.read_bytes()
        tiles = np.frombuffer(stored, np.uint8).reshape(-1, 257)
        return ArrayInventory(
            name=request.location.name,
            classes=tuple(map(str, range(tiles[:, 0].max() + 1))),
            labels=tiles[:, 0].astype(np.int64),
            keys=tuple(f"tiles/{row}" for row in range(len(tiles))),
            signature=hashlib.sha256(stored).hexdigest(),
            images=tiles[:, 1:].reshape(-1, 16, 16),
        )
