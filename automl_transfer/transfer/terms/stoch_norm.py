"""StochNorm: channels are normalised by moving statistics or by the batch's, by chance (Kou et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from automl_transfer.errors import ConfigurationError
from automl_transfer.transfer.norms import BatchNorm, batch_norms
from automl_transfer.transfer.terms.base import Beginning, Term


class StochNorm(Term):
    """In each step a channel takes its moving statistics with probability `strength` (section 3.2, eq. 4-6).

    The paper's p is the probability of the other branch, that of usual batch norm: its .5 is .5 here. Moving
    statistics are those before the step, as the paper has them; they are updated as usual.
    """

    shards = True

    def begin(self, beginning: Beginning) -> None:
        """Find the batch norms.

        Raises:
            ConfigurationError: The source has none.
        """
        self._layers = batch_norms(beginning.model.groups)  # perhaps none, where the network is cut early
        if not batch_norms(beginning.source.groups):
            raise ConfigurationError(
                f"stoch_norm must be 0 where the network has no batch norms, got {self.strength:g} for "
                f"{beginning.source.architecture}: set it to 0, or take another source"
            )

    def hooks(self) -> Iterable[RemovableHandle]:
        """Mix the two branches in the layers whose statistics move in this phase."""
        for layer in self._layers:
            if layer.training:
                yield from self._mixed(layer)

    def _mixed(self, layer: BatchNorm) -> Iterable[RemovableHandle]:
        by_moving: list[Tensor] = []

        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if not layer.training:  # another term looks at the model as it is judged
                return
            mean, var = layer.running_mean, layer.running_var
            assert mean is not None
            assert var is not None
            # The backward pass reads these: the layer's own are about to be updated by the batch's branch.
            layer.running_mean, layer.running_var = mean.clone(), var.clone()
            layer.training = False  # this layer alone: what timm's norms carry stays as it is
            try:
                by_moving.append(layer.forward(inputs[0]))
            finally:
                layer.training = True
                layer.running_mean, layer.running_var = mean, var

        def after(_: nn.Module, __: tuple[Tensor, ...], by_batch: Tensor) -> Tensor:
            if not by_moving:
                return by_batch
            moving = by_moving.pop()
            # Drawn on the CPU: a seed must give the same channels on every device.
            taken = (torch.rand(moving.shape[1]) < self.strength).to(moving.device)
            return torch.where(taken.view(1, -1, *[1] * (moving.dim() - 2)), moving, by_batch)

        yield layer.register_forward_pre_hook(before)
        yield layer.register_forward_hook(after)
