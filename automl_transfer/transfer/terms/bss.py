"""Batch spectral shrinkage: what few images cannot train is unlearned (Chen et al. 2019, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from automl_transfer.transfer.terms.base import Beginning, Rest, Term

SMALLEST = 1
"""k: how many singular values are penalised; the paper found one to be enough."""


class BSS(Term):
    """Strength * sum of the k smallest sigma^2 of F (eq. 8), the (B, features) matrix that the head reads.

    F is that of the images that go through the model at once.
    """

    shards = True

    def begin(self, beginning: Beginning) -> None:
        """Find the head."""
        self._head: nn.Module = beginning.model.head
        self._features: Tensor | None = None

    def hooks(self) -> Iterable[RemovableHandle]:
        """Keep what the head reads."""

        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._features = inputs[0]

        yield self._head.register_forward_pre_hook(keep)

    def loss(self, rest: Rest, logits: Tensor, targets: Tensor) -> Tensor:
        """The penalty of this part's features."""
        features, self._features = self._features, None
        assert features is not None
        return self.strength * shrinkage(features, SMALLEST)


def shrinkage(features: Tensor, smallest: int) -> Tensor:
    """Sum of the squares of the smallest singular values of a matrix."""
    sigma: Tensor = torch.linalg.svdvals(features.float())
    return sigma[-smallest:].square().sum()
