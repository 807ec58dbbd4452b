"""mixup: images and labels are blended in pairs (Zhang et al. 2018, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from automl_transfer.transfer.terms.base import Rest, Term


class Mixup(Term):
    """x <- l x + (1 - l) x', y <- l y + (1 - l) y', l ~ Beta(strength, strength), one for a part of a batch.

    Below a frozen prefix that is kept, activations are blended instead of pixels (manifold mixup, Verma et
    al. 2019, at a fixed layer).
    """

    shards = True
    mixes = True

    def batch(self, rest: Rest, targets: Tensor) -> tuple[Rest, Tensor]:
        """Blend every row with another one of the same part."""
        share = float(torch.distributions.Beta(self.strength, self.strength).sample())
        partner = torch.randperm(len(targets)).to(targets.device)
        x, below = rest
        mixed = blend(x, x[partner], share), None if below is None else blend(below, below[partner], share)
        return mixed, blend(targets, targets[partner], share)


def blend(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Share of one, the rest of the other."""
    return other + share * (one - other)
