"""DELTA: feature maps stay near those of the source, channels that matter most of all (Li et al. 2019)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from automl_transfer.aborting import check_abort
from automl_transfer.domain.dimensions import SOLVED
from automl_transfer.models.heads import TargetModel
from automl_transfer.transfer.features import batch_for, pixel_elements, read_pixels
from automl_transfer.transfer.freeze import TransferModel
from automl_transfer.transfer.ridge import mean_of
from automl_transfer.transfer.terms.base import Beginning, Rest, Term

ATTENTION_PIXELS = 2**23
"""Pixels that attention passes through the whole network, each channel's images through what is above it.

With EfficientNet-Lite0 that is 5 to 10 seconds of one core. Beyond, all channels weigh the same.
"""
LEAST_IMAGES, MOST_IMAGES = 8, 64


class Delta(Term):
    """Strength * 1/2 sum over groups and channels of W_j C / P |FM_j(w, x) - FM_j(w*, x)|^2 (eq. 5 and 6).

    FM_j is channel j of a transferred group's output with C channels of P positions, w* the weights that
    training began with. W is the softmax over a group's channels of how much the loss rises where channel j
    is zero (eq. 7). That needs a head that is any good, and a pass for each channel: under a head that is not
    solved, or where there are too many, W is 1 / C. Tokens are positions, features have one.
    """

    shards = True

    def begin(self, beginning: Beginning) -> None:
        """Keep the start, and weigh its channels."""
        self._model: TransferModel = beginning.model
        self._groups = list(self._model.groups)[: beginning.transferred]
        self._reference = [copy.deepcopy(group).eval().requires_grad_(False) for group in self._groups]
        self._outputs: dict[int, Tensor] = {}
        self._weights = attention(beginning) or {}

    def hooks(self) -> Iterable[RemovableHandle]:
        """Keep what the transferred groups that run give."""

        def keeper(number: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
                self._outputs[number] = output.float()

            return keep

        for number, group in enumerate(self._groups):
            yield group.register_forward_hook(keeper(number))

    def loss(self, rest: Rest, logits: Tensor, targets: Tensor) -> Tensor | None:
        """The distance of this part's maps; None where no transferred group trains."""
        outputs, self._outputs = self._outputs, {}
        start = self._model.frozen_prefix  # what is below gave `rest`, in both networks
        total: Tensor | None = None
        x = self._model.resize(rest[0]) if start == 0 else rest[0]
        for number in range(start, len(self._groups)):
            with torch.no_grad():
                x = self._reference[number](x)
            found = distance(outputs[number], x, self._weights.get(number), self.counts)
            total = found if total is None else total + found
        return None if total is None else self.strength * total


def distance(maps: Tensor, start: Tensor, weights: Tensor | None, counts: Tensor | None = None) -> Tensor:
    """1/2 of the mean over images of sum_j W_j C / P |FM_j - FM*_j|^2; W is 1 / C where it is None.

    Images weigh as they count, (B,); None: once each.
    """
    squares = _by_channel((maps - start).square()).mean(dim=2)
    each = squares.sum(dim=1) if weights is None else squares.shape[1] * (squares @ weights)
    return 0.5 * mean_of(each, counts)


def _by_channel(x: Tensor) -> Tensor:
    """(B, C, P) of maps (B, C, H, W), tokens (B, N, C) or features (B, F)."""
    if x.dim() == 3:
        return x.transpose(1, 2)
    return x.flatten(2) if x.dim() == 4 else x.unsqueeze(2)


@torch.no_grad()
def attention(beginning: Beginning) -> dict[int, Tensor] | None:
    """Weights of the channels of each transferred group that trains, by its position; None for equal ones."""
    model, size = beginning.model, beginning.images.shape[1:3]
    trained = range(model.frozen_prefix, beginning.transferred)
    if beginning.strategy.head_init not in SOLVED or not trained:
        return None
    x = model.resize(beginning.normalise(read_pixels(beginning.images, beginning.rows[:1])))
    passes = 1.0
    for number in range(beginning.transferred):
        x = model.groups[number](x)
        above = 1.0 - (number + 1) / len(model.groups)
        passes += above * _by_channel(x).shape[1] if number in trained else 0.0
    pixels = size[0] * size[1] * model.resolution_scale**2
    count = min(MOST_IMAGES, int(ATTENTION_PIXELS / (passes * pixels)))
    if count < LEAST_IMAGES:
        return None
    spread = np.linspace(0, len(beginning.rows) - 1, min(count, len(beginning.rows)))
    rows = beginning.rows[spread.astype(np.int64)]
    images = beginning.normalise(read_pixels(beginning.images, rows))
    labels = torch.from_numpy(beginning.labels[rows].astype(np.int64)).to(images.device)
    at_once = max(1, batch_for(pixel_elements(size, model.resolution_scale), images.device) // len(rows))
    counts = None if beginning.weights is None else torch.from_numpy(beginning.weights[rows]).to(images)
    return {n: torch.softmax(rises(model, n, images, labels, at_once, counts), dim=0) for n in trained}


@torch.no_grad()
def rises(
    model: TransferModel,
    number: int,
    images: Tensor,
    labels: Tensor,
    at_once: int,
    counts: Tensor | None = None,
) -> Tensor:
    """(C,) how much the mean loss rises where one channel of a group's output is zero.

    Args:
        model: In evaluation mode.
        number: Position of the group.
        images: (n, ...) normalised.
        labels: (n,).
        at_once: Channels whose images go through the model together.
        counts: (n,) how often each image counts; None: once.
    """
    x, below = (model.resize(images), None) if number == 0 else model.run(images, number)
    x = model.groups[number](x)
    upper = TargetModel([nn.Identity(), *list(model.groups)[number + 1 :]], model.head)

    def losses(channels: range) -> Tensor:
        times = len(channels)
        cut = x.repeat(times, *[1] * (x.dim() - 1))
        for part, channel in zip(torch.split(cut, len(x)), channels, strict=True):
            _by_channel(part)[:, channel : channel + 1] = 0.0
        logits = upper(cut, 0, None if below is None else below.repeat(times, 1))
        each = nn.functional.cross_entropy(logits, labels.repeat(times), reduction="none")
        return mean_of(each.view(times, -1), counts, dim=1)

    channels = _by_channel(x).shape[1]
    whole = losses(range(channels, channels + 1))  # of no channel
    found = []
    for first in range(0, channels, at_once):
        check_abort()
        found.append(losses(range(first, min(first + at_once, channels))) - whole)
    return torch.cat(found)
