"""What a new head reads: pooled features of images, from a forward pass or from somebody who has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.fuse import with_fused
from automl_transfer.models.heads import TargetModel
from automl_transfer.transfer.features import batch_for, forward_rows, pixel_elements, read_pixels
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.views import Views

Reader = Callable[[np.ndarray], Tensor]
"""From rows of a task to (rows x views, F) features, those of an image's views side by side."""


@dataclass(frozen=True)
class HeadInput:
    """The features that a head is solved from.

    Attributes:
        strategy: Names the source, and what the head reads.
        model: In evaluation mode; its groups make the features.
        images: All views of the task's images.
        rows: Training rows.
        normalise: From pixels to the network's input.
    """

    strategy: Strategy
    model: TargetModel
    images: Views
    rows: np.ndarray
    normalise: Normaliser

    def compute(self, rows: np.ndarray, into: np.ndarray | None = None) -> Tensor:
        """One forward pass over these rows; see `forward_batches` for `into` and errors."""
        elements = pixel_elements(self.images.shape[1:3], scale=self.model.resolution_scale)
        batch = batch_for(elements, self.normalise.device)
        numbers = self.images.numbers(rows)
        return forward_rows(self._body.features, self.images, numbers, self.normalise, batch, into)

    @cached_property
    @torch.no_grad()
    def _body(self) -> TargetModel:
        sample = self.normalise(read_pixels(self.images, self.rows[:1]))
        return with_fused(self.model, sample, len(self.model.groups))
