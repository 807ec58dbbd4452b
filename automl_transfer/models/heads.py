"""The new head on pooled activations, and the target model that carries it, made of a description too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl_transfer.domain.task import scaled
from automl_transfer.errors import SourceError
from automl_transfer.models.adapters import insert_adapters
from automl_transfer.models.architectures import build_architecture
from automl_transfer.models.network import Backbone

Shape = Sequence[int]


class PooledHead(nn.Module):
    """Activations to logits: average pooling to a grid, then one linear layer on all of them.

    It reads the last activations of a network, one from each of its `taps` topmost boundaries (Head2Toe,
    Evci et al. 2022). Maps (B, C, H, W) are pooled to `grid` x `grid` and flattened; tokens (B, N, C) lose
    their prefix tokens, are laid out as a square map and treated the same; features (B, F) are taken as
    they are. A map with fewer cells than the grid has keeps its own.

    Args:
        shapes: Shape of one activation at each tap, bottom to top, without the batch dimension:
            (C, H, W), (N, C) or (F,).
        classes: Number of logits.
        grid: Height and width of the pooled maps.
        prefix_tokens: Class and register tokens in front of the patch tokens.

    Attributes:
        linear: `nn.Linear(features, classes)`.
        features: Length of all pooled activations together.
        taps: Number of activations that it reads.
    """

    def __init__(self, shapes: Sequence[Shape], classes: int, grid: int = 1, prefix_tokens: int = 0) -> None:
        super().__init__()
        self.grid = grid
        self.taps = len(shapes)
        self.prefix_tokens = prefix_tokens
        self._grids = tuple(usable_grid(shape, grid, prefix_tokens) for shape in shapes)
        self.features = sum(
            pooled_features(shape, each) for shape, each in zip(shapes, self._grids, strict=True)
        )
        self.linear = nn.Linear(self.features, classes)

    def pool(self, activation: Tensor, tap: int = -1) -> Tensor:
        """Pool the activation of one tap (the last by default) to (B, its features)."""
        return pool_activation(activation, self._grids[tap], self.prefix_tokens)

    def forward(self, features: Tensor) -> Tensor:
        """(B, features) pooled activations to (B, classes) logits."""
        logits: Tensor = self.linear(features)
        return logits


class TargetModel(nn.Module):
    """Backbone groups, possibly fewer than the source had, and a new head.

    State dict keys are `groups.{i}....` and `head.linear.weight|bias`.

    Args:
        groups: They run one after the other.
        head: Reads the outputs of the last `head.taps` groups.
        resolution_scale: Images are resized by this factor first.

    Attributes:
        flips: Logits of an image are the mean of its own and its mirror image's. Never while training.
        adapter: Width of the adapters that its groups hold; 0 where they hold none.
    """

    def __init__(self, groups: Iterable[nn.Module], head: PooledHead, resolution_scale: float = 1.0) -> None:
        super().__init__()
        self.groups = nn.ModuleList(groups)
        self.head = head
        self.resolution_scale = resolution_scale
        self.flips = False
        self.adapter = 0

    def resize(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images at the size that the first group takes."""
        return resize(images, self.resolution_scale)

    def run(
        self, x: Tensor, stop: int, start: int = 0, below: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run `groups[start:stop]` on images, or on what `run(images, start)` gave.

        Returns:
            The activation that group `stop` takes, and the pooled taps below it (None where there are
            none). Where `stop` is the number of groups: all pooled features, and None.
        """
        if start == len(self.groups):
            return x, None
        found = [] if below is None else [below]
        x = self.resize(x) if start == 0 else x
        # Not a slice: that would build a module list in every step.
        for number, group in enumerate(islice(self.groups, start, stop), start):
            x = group(x)
            tap = number - len(self.groups)  # counted from the top: -1 is the last group
            if -tap <= self.head.taps:
                found.append(self.head.pool(x, tap))
        if stop == len(self.groups):
            return _joined(found), None
        return x, _joined(found) if found else None

    def features(self, x: Tensor, start: int = 0, below: Tensor | None = None) -> Tensor:
        """Pooled features (B, F) of images, or of what `run(images, start)` gave."""
        return self.run(x, len(self.groups), start, below)[0]

    def forward(self, x: Tensor, start: int = 0, below: Tensor | None = None) -> Tensor:
        """(B, classes) logits of images, or of what `run(images, start)` gave."""
        logits: Tensor = self.head(self.features(x, start, below))
        if self.flips and start == 0:
            mirrored: Tensor = self.head(self.features(x.flip(3)))
            logits = (logits + mirrored) / 2.0
        return logits


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def resize(images: Tensor, scale: float) -> Tensor:
    """(B, C, H, W) images scaled in both directions: bilinear upwards, area averages downwards."""
    if scale == 1.0:
        return images
    size = (scaled(int(images.shape[2]), scale), scaled(int(images.shape[3]), scale))
    if scale < 1.0:
        return F.adaptive_avg_pool2d(images, size)
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def usable_grid(shape: Shape, grid: int, prefix_tokens: int = 0) -> int:
    """The grid, or the side of the activation's map where that is smaller (1 where it has no square map).

    >>> [usable_grid(shape, 4) for shape in ((8, 7, 7), (8, 3, 5), (16, 8), (15, 8), (320,))]
    [4, 3, 4, 1, 1]
    """
    if len(shape) == 3:
        return max(1, min(grid, *(int(side) for side in shape[1:])))
    if len(shape) == 2:
        tokens = int(shape[0]) - prefix_tokens
        side = math.isqrt(tokens)
        return max(1, min(grid, side)) if side * side == tokens else 1
    return 1


def pooled_features(shape: Shape, grid: int) -> int:
    """Length of a pooled activation of this shape (without the batch dimension)."""
    if len(shape) == 3:
        return int(shape[0]) * grid * grid
    if len(shape) == 2:
        return int(shape[1]) * grid * grid
    if len(shape) == 1:
        return int(shape[0])
    raise SourceError(
        "an activation must be a map (C, H, W), tokens (N, C) or features (F,), "
        f"got the shape {tuple(shape)}: this network cannot be cut here"
    )


def pool_activation(activation: Tensor, grid: int = 1, prefix_tokens: int = 0) -> Tensor:
    """Pool (B, C, H, W), (B, N, C) or (B, F) to (B, features)."""
    if activation.dim() == 2:
        return activation
    if activation.dim() == 3:
        activation = activation[:, prefix_tokens:]
        if grid == 1:
            return activation.mean(dim=1)
        activation = as_map(activation)
    if grid == 1:
        return activation.mean(dim=(2, 3))
    return F.adaptive_avg_pool2d(activation, grid).flatten(1)


def as_map(tokens: Tensor) -> Tensor:
    """Tokens (B, N, C) that form a square, as a map (B, C, H, W)."""
    batch, count, channels = tokens.shape
    side = math.isqrt(count)
    if side * side != count:
        raise SourceError(
            f"tokens must form a square to be pooled to a grid, got {count}: pool to 1 x 1 instead"
        )
    return tokens.transpose(1, 2).reshape(batch, channels, side, side)


def truncate(
    backbone: Backbone,
    groups_kept: int,
    classes: int,
    pool: int = 1,
    resolution: int | None = None,
    taps: int = 1,
    resolution_scale: float = 1.0,
) -> TargetModel:
    """The first groups of a backbone (its own modules, not copies) and a new head, in evaluation mode.

    Args:
        backbone: It stays usable; its weights are shared with the target model.
        groups_kept: 1 to all.
        classes: Number of logits.
        pool: Height and width of the grid that activations are pooled to.
        resolution: Of the images in pixels; None takes the backbone's native one.
        taps: Number of topmost group outputs that the head reads.
        resolution_scale: Images are resized by this factor first.

    Raises:
        SourceError: `groups_kept` is out of range, or the images are too small.
    """
    if not 1 <= groups_kept <= len(backbone.groups):
        raise SourceError(
            f"groups_kept must be 1 to {len(backbone.groups)} for {backbone.architecture}, got {groups_kept}"
        )
    if not 1 <= taps <= groups_kept:
        raise SourceError(f"taps must be 1 to the groups kept ({groups_kept}), got {taps}")
    size = scaled(resolution or backbone.resolution, resolution_scale)
    shapes = backbone.shapes(size, stop=groups_kept)[-taps:]
    head = PooledHead(shapes, classes, pool, backbone.prefix_tokens)
    model = TargetModel(list(backbone.groups)[:groups_kept], head, resolution_scale)
    model.eval()
    return model


def build_from_description(
    architecture: str,
    groups_kept: int,
    pool: int,
    in_channels: int,
    classes: int,
    resolution: int,
    taps: int = 1,
    resolution_scale: float = 1.0,
    flips: bool = False,
    adapter: int = 0,
) -> TargetModel:
    """The target model that a `model.json` describes, with random weights and in evaluation mode.

    Raises:
        SourceError: The architecture is unknown or cannot be cut there.
    """
    backbone = build_architecture(architecture, in_channels)
    if adapter:
        insert_adapters(backbone, adapter, scaled(resolution, resolution_scale))
    model = truncate(backbone, groups_kept, classes, pool, resolution, taps, resolution_scale)
    model.flips, model.adapter = flips, adapter
    return model
