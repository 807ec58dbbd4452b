"""The module that is packaged: evaluation mode, no tunable parameter, the pixels' scaling on demand."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from automl_transfer.domain.normalisation import NormalisationFacts, constants
from automl_transfer.models.heads import TargetModel
from automl_transfer.transfer.pixels import Normaliser


class Inference(nn.Module):
    """A target model for inference only; the argument stays as it is.

    Every parameter has become a constant: `parameters()` is empty and nothing asks for a gradient.

    Args:
        model: What was trained.
        normalisation: With it, forward takes uint8 pixels (N, H, W, C) and gives (N, classes)
            probabilities; without, it takes normalised float32 (N, C, H, W) and gives logits.
        temperature: What logits are divided by to become probabilities.
    """

    def __init__(
        self,
        model: TargetModel,
        normalisation: NormalisationFacts | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self._temperature = temperature
        self.model = _without_parameters(copy.deepcopy(model))
        self._normalise: Normaliser | None = None
        if normalisation is not None:
            mean, std = constants(normalisation) or (None, None)
            self._normalise = Normaliser(mean, std)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images, or probabilities of pixels."""
        logits: Tensor
        if self._normalise is None:
            logits = self.model(images)
            return logits
        return torch.softmax(self.model(self._normalise(images)) / self._temperature, dim=1)


def _without_parameters(model: TargetModel) -> TargetModel:
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                del module._parameters[name]
                module.register_buffer(name, parameter.detach())
    return model
