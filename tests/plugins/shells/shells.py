"""Striped and spotted shells, a tiny network of two groups, and an initialiser."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from automl_transfer.data.arrays import ArrayInventory
from automl_transfer.data.base import DatasetKind, Inventory, Request
from automl_transfer.models.base import Source, SourceInfo
from automl_transfer.models.network import Backbone


class Shells(DatasetKind):
    """`shells`, or `shells?count=30`: images a class."""

    options: Mapping[str, str] = {"count": "images a class"}

    def open(self, request: Request) -> Inventory:
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
            signature=f"shells 1.2.0 {count}",
            images=images,
        )


class TinyNet(Source):
    """`tinynet`: its weights are drawn from a fixed seed, as if they had been trained."""

    def __init__(self, name: str) -> None:
        self.name = name

    def info(self) -> SourceInfo:
        return SourceInfo(
            name=self.name, architecture="tinynet", licence="CC0-1.0", size_bytes=None, available=True,
            revision="1", note="a network of another package",
        )  # fmt: skip

    def sha256(self) -> str:
        return hashlib.sha256(b"tinynet 1").hexdigest()

    def load(self, in_channels: int, *, allow_download: bool = True) -> Backbone:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return self.build(in_channels)

    def build(self, in_channels: int) -> Backbone:
        groups = [
            nn.Sequential(nn.Conv2d(in_channels, 8, 3, 2, 1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
        ]
        return Backbone(
            "tinynet", groups, ["stem", "body"], in_channels=in_channels,
            mean=(0.5,) * 3, std=(0.5,) * 3, resolution=32, pretrained=True,
        ).eval()  # fmt: skip


def halves(weight: torch.Tensor, source: torch.Tensor, generator: torch.Generator) -> None:
    """Every weight is one half or minus one half."""
    weight.copy_(torch.randint(2, weight.shape, generator=generator) - 0.5)
