"""The first layer, adapted to gray or RGB images."""

from __future__ import annotations

import torch
from torch import nn

from automl_transfer.errors import SourceError


def first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the convolution (or patch embedding) that reads the image.

    Raises:
        SourceError: The network has none, or it cannot be adapted.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.groups == 1 and module.in_channels in (1, 3):
                return name, module
            break
    raise SourceError(
        f"the first layer must be a plain convolution over 1 or 3 channels, {type(model).__name__} "
        "has another: take another source"
    )


@torch.no_grad()
def adapt_channels(model: nn.Module, in_channels: int) -> None:
    """Make the first convolution read `in_channels` channels, in place.

    3 to 1 sums the filters over RGB: a gray image gives what the same image repeated thrice gave.
    1 to 3 repeats them divided by 3: an RGB image with equal channels gives what the gray one gave.
    Both hold where the normalisation is the same for all channels.
    """
    _, conv = first_convolution(model)
    if conv.in_channels == in_channels:
        return
    weight = conv.weight
    if in_channels == 1:
        adapted = weight.sum(dim=1, keepdim=True)
    else:
        adapted = weight.expand(-1, in_channels, -1, -1) / in_channels
    conv.weight = nn.Parameter(adapted.clone(), requires_grad=weight.requires_grad)
    conv.in_channels = in_channels
