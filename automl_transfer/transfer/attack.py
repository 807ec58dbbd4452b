"""Images changed against a model, within what a person would hardly see: for training and for measuring."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LENGTH = 2.5
"""The steps of PGD together are so many times as long as the radius (Madry et al. 2018, section 5)."""
FAST = 1.25
"""A single step from a random start, of eps (Wong et al. 2020, section 4.2)."""


def step_length(radius: float, steps: int, *, from_within: bool) -> float:
    """How far one step goes: a single one from the image itself goes all the way (FGSM)."""
    if steps == 1:
        return FAST * radius if from_within else radius
    return LENGTH * radius / steps


def around(pixels: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """The least and the most that each pixel may become, of numbers from 0 to 255."""
    return (pixels - radius).clamp_min(0.0), (pixels + radius).clamp_max(255.0)


def start_within(pixels: Tensor, radius: float, generator: torch.Generator | None = None) -> Tensor:
    """Pixels moved at random by at most the radius."""
    # Drawn on the CPU: a seed must give the same start on every device.
    noise = torch.rand(pixels.shape, generator=generator).to(pixels.device)
    low, high = around(pixels, radius)
    return torch.clamp(pixels + (2.0 * noise - 1.0) * radius, low, high)


def climb(
    x: Tensor,
    pixels: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    radius: float,
    length: float,
) -> Tensor:
    """One step from x along the sign of the loss's gradient, not further from the pixels than the radius.

    Args:
        x: (B, C, H, W) numbers from 0 to 255.
        pixels: The same images, unchanged.
        loss_of: Sums the loss over the batch.
        radius: The most that a pixel may change, in these numbers.
        length: Of the step.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss_of(x), x)
    low, high = around(pixels, radius)
    return torch.clamp(x.detach() + length * gradient.nan_to_num(0.0).sign(), low, high)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) how far the best wrong logit is above the right one (Carlini & Wagner 2017, f6).

    Unlike the cross-entropy it has a gradient where a model is very sure, so that being sure is no shield.
    """
    truth = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    wrong = logits.masked_fill(truth, float("-inf")).amax(dim=1)
    return wrong - logits.gather(1, labels[:, None])[:, 0]
