"""Bottleneck adapters: small layers behind the branches of residual blocks, in a network that stays as it is.

Houlsby et al. 2019 ("Parameter-Efficient Transfer Learning for NLP", section 2.1) put them behind each
branch of a transformer's layer, before the shortcut is added; on maps the two projections are convolutions
of 1 x 1, as in residual adapters (Rebuffi et al. 2018, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from automl_transfer.errors import SourceError
from automl_transfer.models.network import Backbone
from automl_transfer.models.traits import branch_drops


class Adapter(nn.Module):
    """b + U gelu(D b + d) + u, for each position of a branch's output b; U and u begin at zero.

    Args:
        channels: Of the branch.
        width: Of the bottleneck, at most `channels`.
        maps: Whether the branch gives maps (B, C, H, W); else its channels come last.
        drop: What stood in its place: it may leave the branch out while training.
    """

    def __init__(self, channels: int, width: int, maps: bool, drop: nn.Module | None = None) -> None:
        super().__init__()
        width = min(width, channels)
        # Whatever is drawn comes from a generator of its own.
        if maps:
            self.down: nn.Module = _undrawn(nn.Conv2d, channels, width, 1)
            self.up: nn.Module = _undrawn(nn.Conv2d, width, channels, 1)
        else:
            self.down = _undrawn(nn.Linear, channels, width)
            self.up = _undrawn(nn.Linear, width, channels)
        self.drop = drop if drop is not None else nn.Identity()
        for parameter in (*self.down.parameters(), *self.up.parameters()):
            nn.init.zeros_(parameter)

    def begin(self, generator: torch.Generator) -> None:
        """Draw D evenly, with the variance 1 / channels."""
        weight = self.down.weight
        assert isinstance(weight, Tensor)
        bound = math.sqrt(3.0 / weight[0].numel())
        with torch.no_grad():
            weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=generator))

    def forward(self, branch: Tensor) -> Tensor:
        """The branch (B, ...), of the same shape."""
        adapted: Tensor = self.drop(branch + self.up(F.gelu(self.down(branch))))
        return adapted


def _undrawn(kind: type[nn.Module], *sizes: int) -> nn.Module:
    made: nn.Module = skip_init(kind, *sizes)  # type: ignore[no-untyped-call]
    return made


class _Probe(nn.Module):
    """Sees the shape of what passes."""

    shape: tuple[int, ...] = ()

    def forward(self, branch: Tensor) -> Tensor:
        self.shape = tuple(branch.shape[1:])
        return branch


def insert_adapters(
    backbone: Backbone, width: int, size: int, generator: torch.Generator | None = None
) -> list[Adapter]:
    """Put an adapter behind every branch of a backbone's residual blocks, in place.

    Args:
        backbone: Its groups are changed.
        width: Of the bottlenecks.
        size: Height and width in pixels of what the first group takes: maps are told by how large they are.
        generator: Draws their first projections; None leaves them zero, for weights that are loaded.

    Raises:
        SourceError: The images are too small for this network, or it has no residual blocks at all.
    """
    places = list(branch_drops(backbone.groups))
    before = [getattr(block, name) for block, name in places]
    probes = [_Probe() for _ in places]
    for (block, name), probe in zip(places, probes, strict=True):
        setattr(block, name, probe)
    try:
        seen = _shapes_seen(backbone, size, probes)
    except SourceError:
        for (block, name), module in zip(places, before, strict=True):
            setattr(block, name, module)
        raise
    made = []
    for (block, name), shape, module in zip(places, seen, before, strict=True):
        maps = _has_maps(shape)
        adapter = Adapter(shape[0] if maps else shape[-1], width, maps, module)
        if generator is not None:
            adapter.begin(generator)
        setattr(block, name, adapter.train(block.training))
        made.append(adapter)
    return made


def adapters_in(module: nn.Module) -> list[Adapter]:
    """The adapters of a module, in order."""
    return [each for each in module.modules() if isinstance(each, Adapter)]


def _shapes_seen(backbone: Backbone, size: int, probes: Sequence[_Probe]) -> list[tuple[int, ...]]:
    """What passes each probe; where a map is as large as it has channels, what passes for smaller images.

    Raises:
        SourceError: The images are too small for this network.
    """
    backbone.shapes(size)
    seen = [probe.shape for probe in probes]
    if any(map(_is_cube, seen)):
        with suppress(SourceError):  # too small for what comes last: others were passed by then
            backbone.shapes(size // 2)
    return [probe.shape if _is_cube(shape) else shape for shape, probe in zip(seen, probes, strict=True)]


def _is_cube(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and len(set(shape)) == 1


def _has_maps(shape: tuple[int, ...]) -> bool:
    """Whether channels come first: images are square, and so are maps.

    >>> _has_maps((24, 8, 8)), _has_maps((8, 8, 24)), _has_maps((64, 24))
    (True, False, False)
    """
    return len(shape) == 3 and (shape[1] == shape[2] or shape[0] != shape[1])
