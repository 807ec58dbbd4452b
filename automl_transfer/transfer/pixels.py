"""Stored pixels to network input: uint8 (B, H, W, C) to normalised float (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PER_IMAGE_FLOOR = 1e-3


def as_numbers(pixels: Tensor, device: torch.device) -> Tensor:
    """Stored uint8 (B, H, W, C) as (B, C, H, W) numbers from 0 to 255; what is so already stays."""
    if pixels.is_floating_point():
        return pixels
    return pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).float()


class Normaliser:
    """Scales pixels to [0, 1], then subtracts a mean and divides by a standard deviation.

    Args:
        mean, std: One value per channel, of [0, 1] pixels; None normalises each image by its own
            mean and standard deviation over all pixels and channels (data centring).
        device: Where the result is computed.
    """

    def __init__(
        self,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self._facts = None if mean is None or std is None else [list(mean), list(std)]
        self._scale: Tensor | None = None
        self._shift: Tensor | None = None
        if mean is not None and std is not None:
            divisor = torch.tensor(tuple(std), dtype=torch.float64).clamp_min(PER_IMAGE_FLOOR)
            shape = (1, len(tuple(mean)), 1, 1)
            scale = 1.0 / (255.0 * divisor)
            shift = -torch.tensor(tuple(mean), dtype=torch.float64) / divisor
            self._scale = scale.float().view(shape).to(self.device)
            self._shift = shift.float().view(shape).to(self.device)

    def facts(self) -> list[list[float]] | None:
        """Mean and std, plain; None where each image has its own."""
        return self._facts

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 (B, H, W, C), or numbers of them, to float32 (B, C, H, W), laid out channels last."""
        return self.centred(as_numbers(pixels, self.device))

    def centred(self, x: Tensor) -> Tensor:
        """The same for (B, C, H, W) numbers from 0 to 255."""
        if self._scale is not None and self._shift is not None:
            return torch.addcmul(self._shift, x, self._scale)
        std, mean = torch.std_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
        return (x - mean) / std.clamp_min(255.0 * PER_IMAGE_FLOOR)
