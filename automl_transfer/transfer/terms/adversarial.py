"""Training on images that were changed against the model (Madry et al. 2018, eq. 2.1), and on noisy ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from automl_transfer.models.network import evaluating
from automl_transfer.transfer.attack import climb, start_within, step_length
from automl_transfer.transfer.terms.base import Beginning, Term


class InputNoise(Term):
    """x <- x + strength * n, n ~ N(0, 1) for each pixel in [0, 1] (Cohen et al. 2019, section 3.2)."""

    shards = True
    on_pixels = True

    def pixels(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """Noisy ones, cut off at black and white."""
        noise = torch.randn(pixels.shape).to(pixels.device)  # as `start_within`, the same on every device
        return (pixels + 255.0 * self.strength * noise).clamp(0.0, 255.0)


class Adversarial(Term):
    """Every image moves by at most `strength` a pixel, towards a larger cross-entropy.

    One step from a random start is "fast" adversarial training (Wong et al. 2020), several are PGD. The model
    that is attacked is in evaluation mode: its statistics do not follow what is only tried.

    Args:
        strength: eps, of pixels in [0, 1].
        steps: The strategy's `adversarial_steps`.
    """

    shards = True
    on_pixels = True

    def __init__(self, strength: float, steps: int = 1) -> None:
        super().__init__(strength)
        self._steps = steps

    def begin(self, beginning: Beginning) -> None:
        """Whom to attack."""
        self._model, self._normalise = beginning.model, beginning.normalise

    def pixels(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """The images after the last step."""
        radius = 255.0 * self.strength
        length = step_length(radius, self._steps, from_within=True)

        def loss_of(x: Tensor) -> Tensor:
            return F.cross_entropy(self._model(self._normalise.centred(x)), targets, reduction="sum")

        x = start_within(pixels, radius)
        with evaluating(self._model):
            for _ in range(self._steps):
                x = climb(x, pixels, loss_of, radius, length)
        return x
