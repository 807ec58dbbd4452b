"""A source of another package: a tiny network of two groups."""

import hashlib

import torch
from torch import nn

from automl_transfer.models.base import Source, SourceInfo
from automl_transfer.models.network import Backbone


class TinyNet(Source):
    """`tinynet`: its weights are drawn from a fixed seed, as if they had been trained."""

    def __init__(self, name):
        self.name = name

    def info(self):
        return SourceInfo(
            name=self.name, architecture="tinynet", licence="CC0-1.0", size_bytes=None, available=True,
            revision="1", note="a network of another package",
        )  # fmt: skip

    def sha256(self):
        return hashlib.sha256(b"tinynet 1").hexdigest()

    def load(self, in_channels, *, allow_download=True):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return self.build(in_channels)

    def build(self, in_channels):
        groups = [
            nn.Sequential(nn.Conv2d(in_channels, 8, 3, 2, 1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
        ]
        return Backbone(
            "tinynet", groups, ["stem", "body"], in_channels=in_channels,
            mean=(0.5,) * 3, std=(0.5,) * 3, resolution=32, pretrained=True,
        ).eval()  # fmt: skip
