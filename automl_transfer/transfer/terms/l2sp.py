"""L2-SP: transferred weights are pulled to where they began (Li et al. 2018, eq. 2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from automl_transfer.transfer.terms.base import Beginning, Term, part_of


class L2SP(Term):
    """Alpha / 2 |w - w0|^2 over transferred parameters, decoupled: w <- w - rate * alpha * (w - w0).

    The value does not enter the reported training loss.
    """

    shards = True
    anchors = True

    def begin(self, beginning: Beginning) -> None:
        """Keep the starting values."""
        self._model = beginning.model
        found = beginning.transferred_parameters().items()
        self._start = {name: p.detach().clone() for name, p in found if p.requires_grad}

    def sharded(self) -> None:
        """Keep parts of them."""
        weights = dict(self._model.named_parameters())
        self._start = {name: part_of(start, weights[name]) for name, start in self._start.items()}

    @torch.no_grad()
    def pull(self, rate_of: Callable[[nn.Parameter], float]) -> None:
        """Towards the start, by a part of the distance that does not depend on gradients."""
        for name, parameter in self._model.named_parameters():
            if name in self._start and parameter.grad is not None:
                parameter.sub_(parameter - self._start[name], alpha=rate_of(parameter) * self.strength)
