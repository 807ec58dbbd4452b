"""DELTA: feature maps stay near those of the source, channels that matter most of all (Li et al. 2019)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from automl_transfer.aborting import check_abort
from automl_transfer.transfer.features import batch_for, pixel_elements, read_pixels
from automl_transfer.transfer.freeze import TransferModel
from automl_transfer.transfer.heads import SOLVED
from automl_transfer.transfer.terms.base import Beginning, Rest, Term

ATTENTION_PIXELS = 2**25
"""Pixels of all images that attention passes through the network, one pass for each channel and image.

On two cores that is about 5 seconds with EfficientNet-Lite0. Beyond, all channels weigh the same.
"""
LEAST_IMAGES, MOST_IMAGES = 8, 64


class Delta(Term):
    """Strength * 1/2 sum over groups and channels of W_j C / P |FM_j(w, x) - FM_j(w*, x)|^2 (eq. 5 and 6).

    FM_j is channel j of a transferred group's output with C channels of P positions, w* the weights that
    training began with. W is the softmax over a group's channels of how much the loss rises where channel j
    is zero (eq. 7). That needs a head that is any good, and a pass for each channel: under a head that is not
    solved, or where there are too many, W is 1 / C. Tokens are positions, features have one.
    """

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
                self._outputs[number] = output

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
            found = distance(outputs[number], x, self._weights.get(number))
            total = found if total is None else total + found
        return None if total is None else self.strength * total


def distance(maps: Tensor, start: Tensor, weights: Tensor | None) -> Tensor:
    """1/2 of the mean over images of sum_j W_j C / P |FM_j - FM*_j|^2; W is 1 / C where it is None."""
    squares = _by_channel((maps - start).square()).mean(dim=2)
    if weights is None:
        return 0.5 * squares.sum(dim=1).mean()
    return 0.5 * squares.shape[1] * (squares @ weights).mean()


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
    channels = 0
    for number in range(beginning.transferred):
        x = model.groups[number](x)
        channels += _by_channel(x).shape[1] if number in trained else 0
    pixels = size[0] * size[1] * model.resolution_scale**2
    count = min(MOST_IMAGES, int(ATTENTION_PIXELS / (channels * pixels)))
    if count < LEAST_IMAGES:
        return None
    spread = np.linspace(0, len(beginning.rows) - 1, min(count, len(beginning.rows)))
    rows = beginning.rows[spread.astype(np.int64)]
    images = beginning.normalise(read_pixels(beginning.images, rows))
    labels = torch.from_numpy(beginning.labels[rows].astype(np.int64)).to(images.device)
    at_once = max(1, batch_for(pixel_elements(size, model.resolution_scale), images.device) // len(rows))
    return {n: torch.softmax(rises(model, n, images, labels, at_once), dim=0) for n in trained}


@torch.no_grad()
def rises(model: TransferModel, number: int, images: Tensor, labels: Tensor, at_once: int) -> Tensor:
    """(C,) how much the mean loss rises where one channel of a group's output is zero.

    Args:
        model: In evaluation mode.
        number: Position of the group.
        images: (n, ...) normalised.
        labels: (n,).
        at_once: Channels whose images go through the model together.
    """
    start, below = (images, None) if number == 0 else model.run(images, number)
    cut: list[range] = [range(0)]
    widths: list[int] = []

    def without(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        changed = output.clone()
        for part, channel in zip(changed.split(len(labels)), cut[0], strict=False):
            _by_channel(part)[:, channel] = 0.0
        widths.append(_by_channel(output).shape[1])
        return changed

    def losses() -> Tensor:
        times = max(1, len(cut[0]))
        x = start.repeat(times, *[1] * (start.dim() - 1))
        logits = model(x, number, None if below is None else below.repeat(times, 1))
        each = nn.functional.cross_entropy(logits, labels.repeat(times), reduction="none")
        return each.view(times, -1).mean(dim=1)

    handle = model.groups[number].register_forward_hook(without)
    try:
        whole = losses()
        found = []
        for first in range(0, widths[0], at_once):
            check_abort()
            cut[0] = range(first, min(first + at_once, widths[0]))
            found.append(losses() - whole)
    finally:
        handle.remove()
    return torch.cat(found)
