"""Low-rank adaptation: weights move by products of two thin matrices only (LoRA, Hu et al. 2022, 4.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from automl_transfer.models.heads import TargetModel
from automl_transfer.transfer.freeze import low_rank_weights
from automl_transfer.transfer.terms.base import Term


class LowRank(Term):
    """W = W0 + B A for each weight that trains, in a model whose structure stays as it is.

    The model always holds the sums, so that it is saved, loaded and run as any other. Gradients of the
    factors follow from those of the weight: dA = B' dW, dB = dW A'. A is drawn evenly, B begins at zero, so
    training begins at the source. Kernels are matrices of (outputs, inputs x height x width).

    Args:
        model: With its weights as they begin.
        transferred: Number of leading groups whose weights move so.
        rank: Of the products.
        generator: Draws A.
    """

    def __init__(self, model: TargetModel, transferred: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self._start: dict[nn.Parameter, Tensor] = {}
        self._factors: dict[nn.Parameter, tuple[nn.Parameter, nn.Parameter]] = {}
        self._names: dict[str, nn.Parameter] = {}
        for name, weight in low_rank_weights(model.groups[:transferred], rank).items():
            outputs, inputs = len(weight), weight[0].numel()
            bound = math.sqrt(3.0 / inputs)
            a = torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator).to(weight.device)
            b = torch.zeros(outputs, rank, device=weight.device)
            self._start[weight] = weight.detach().clone()
            self._factors[weight] = (nn.Parameter(b), nn.Parameter(a))
            self._names[name] = weight

    def factors(self) -> Mapping[nn.Parameter, tuple[nn.Parameter, nn.Parameter]]:
        """The factors (B, A) of each weight that trains now."""
        return {weight: pair for weight, pair in self._factors.items() if weight.requires_grad}

    def differentiated(self) -> None:
        """Gradients pass from the weights to their factors."""
        for weight, (b, a) in self.factors().items():
            if weight.grad is not None:
                moved = weight.grad.reshape(len(b), -1)
                b.grad, a.grad = moved @ a.detach().T, b.detach().T @ moved
                weight.grad = None

    @torch.no_grad()
    def stepped(self) -> None:
        """The sums come into the model."""
        for weight, (b, a) in self.factors().items():
            weight.copy_(self._start[weight] + (b @ a).view_as(weight))

    def state(self) -> dict[str, Tensor]:
        """The factors, by the weight's name."""
        return {
            f"{name}.{letter}": factor.detach()
            for name, weight in self._names.items()
            for letter, factor in zip("ba", self._factors[weight], strict=True)
        }

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave.

        Raises:
            ValueError: That is of other weights than these factors are.
        """
        own = self.state()
        if tensors.keys() != own.keys():
            raise ValueError(
                "low-rank factors must be of the same weights, got "
                f"others: {sorted(tensors.keys() ^ own.keys())[:3]}"
            )
        for name, factor in own.items():
            factor.copy_(tensors[name])
