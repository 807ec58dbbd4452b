"""L2-SP: transferred weights are pulled to where they began (Li et al. 2018, eq. 2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from automl_transfer.transfer.terms.base import Beginning, Term


class L2SP(Term):
    """Alpha / 2 |w - w0|^2 over transferred parameters, decoupled: w <- w - rate * alpha * (w - w0).

    The value does not enter the reported training loss.
    """

    anchors = True

    def __init__(self, strength: float) -> None:
        super().__init__(strength)
        self._pairs: list[tuple[nn.Parameter, Tensor]] = []

    def begin(self, beginning: Beginning) -> None:
        """Keep the starting values."""
        found = beginning.transferred_parameters().values()
        self._pairs = [
            (parameter, parameter.detach().clone()) for parameter in found if parameter.requires_grad
        ]

    @torch.no_grad()
    def pull(self, rate_of: Callable[[nn.Parameter], float]) -> None:
        """Towards the start, by a part of the distance that does not depend on gradients."""
        for parameter, start in self._pairs:
            if parameter.grad is not None:
                parameter.sub_(parameter - start, alpha=rate_of(parameter) * self.strength)
