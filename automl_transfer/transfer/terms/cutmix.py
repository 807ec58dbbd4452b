"""CutMix: a rectangle of each image comes from another one, and that share of its label (Yun et al. 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from automl_transfer.transfer.terms.base import Rest, Term
from automl_transfer.transfer.terms.mixup import blend


class CutMix(Term):
    """The rectangle covers 1 - l of the image, l ~ Beta(strength, strength), before it is cut at the border.

    Labels are blended by the share that is really covered (section 3.1). Below a frozen prefix that is kept,
    rectangles are cut out of its maps, and pooled outputs below are blended by the same share. What is no map
    (tokens) is blended as a whole.
    """

    shards = True
    mixes = True

    def batch(self, rest: Rest, targets: Tensor) -> tuple[Rest, Tensor]:
        """Paste a rectangle of another row of the same part into every row."""
        share = float(torch.distributions.Beta(self.strength, self.strength).sample())
        partner = torch.randperm(len(targets)).to(targets.device)
        across, down = (float(part) for part in torch.rand(2))
        x, below = rest
        if x.dim() == 4:
            rows, columns = (
                _span(side, share, at) for side, at in ((x.shape[2], down), (x.shape[3], across))
            )
            pasted = x.clone(memory_format=torch.preserve_format)
            pasted[:, :, rows, columns] = x[partner][:, :, rows, columns]
            covered = (rows.stop - rows.start) * (columns.stop - columns.start)
            share = 1.0 - covered / (x.shape[2] * x.shape[3])
        else:
            pasted = blend(x, x[partner], share)
        below = None if below is None else blend(below, below[partner], share)
        return (pasted, below), blend(targets, targets[partner], share)


def _span(side: int, share: float, at: float) -> slice:
    """The rectangle's extent along a side: sqrt(1 - l) of it around a centre, cut at the border."""
    half, centre = side * math.sqrt(1.0 - share) / 2.0, at * side
    return slice(max(0, round(centre - half)), min(side, round(centre + half)))
