"""The new head on pooled activations, and the target model that carries it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from automl_transfer.errors import SourceError


class PooledHead(nn.Module):
    """Activation to logits: average pooling to a grid, then one linear layer.

    Maps (B, C, H, W) are pooled to `grid` x `grid` and flattened; tokens (B, N, C) lose their prefix
    tokens, are laid out as a square map and treated the same; features (B, F) are taken as they are.
    Maps smaller than the grid are repeated.

    Args:
        sample_shape: Shape of one activation, without the batch dimension: (C, H, W), (N, C) or (F,).
        classes: Number of logits.
        grid: Height and width of the pooled map.
        prefix_tokens: Class and register tokens in front of the patch tokens.

    Attributes:
        linear: `nn.Linear(features, classes)`.
        features: Length of a pooled activation.
    """

    def __init__(
        self, sample_shape: Sequence[int], classes: int, grid: int = 1, prefix_tokens: int = 0
    ) -> None:
        super().__init__()
        self.grid = grid
        self.prefix_tokens = prefix_tokens
        self.features = pooled_features(sample_shape, grid)
        self.linear = nn.Linear(self.features, classes)

    def pool(self, activation: Tensor) -> Tensor:
        """Pool an activation to (B, features)."""
        return pool_activation(activation, self.grid, self.prefix_tokens)

    def forward(self, activation: Tensor) -> Tensor:
        """(B, classes) logits."""
        logits: Tensor = self.linear(self.pool(activation))
        return logits


class TargetModel(nn.Module):
    """Backbone groups, possibly fewer than the source had, and a new head.

    State dict keys are `groups.{i}....` and `head.linear.weight|bias`.
    """

    def __init__(self, groups: Iterable[nn.Module], head: PooledHead) -> None:
        super().__init__()
        self.groups = nn.ModuleList(groups)
        self.head = head

    def features(self, x: Tensor, start: int = 0) -> Tensor:
        """Pooled features (B, F); `x` is the input of group `start` (images for 0)."""
        for group in self.groups[start:]:
            x = group(x)
        return self.head.pool(x)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """(B, classes) logits; with `start` > 0, `x` is the activation that group `start` takes."""
        logits: Tensor = self.head.linear(self.features(x, start))
        return logits


def pooled_features(sample_shape: Sequence[int], grid: int) -> int:
    """Length of a pooled activation of this shape (without the batch dimension)."""
    if len(sample_shape) == 3:
        return int(sample_shape[0]) * grid * grid
    if len(sample_shape) == 2:
        return int(sample_shape[1]) * grid * grid
    if len(sample_shape) == 1:
        return int(sample_shape[0])
    raise SourceError(
        "an activation must be a map (C, H, W), tokens (N, C) or features (F,), "
        f"got the shape {tuple(sample_shape)}: this network cannot be cut here"
    )


def pool_activation(activation: Tensor, grid: int = 1, prefix_tokens: int = 0) -> Tensor:
    """Pool (B, C, H, W), (B, N, C) or (B, F) to (B, features)."""
    if activation.dim() == 2:
        return activation
    if activation.dim() == 3:
        activation = activation[:, prefix_tokens:]
        if grid == 1:
            return activation.mean(dim=1)
        activation = _as_map(activation)
    if grid == 1:
        return activation.mean(dim=(2, 3))
    return F.adaptive_avg_pool2d(activation, grid).flatten(1)


def _as_map(tokens: Tensor) -> Tensor:
    batch, count, channels = tokens.shape
    side = math.isqrt(count)
    if side * side != count:
        raise SourceError(
            f"tokens must form a square to be pooled to a grid, got {count}: pool to 1 x 1 instead"
        )
    return tokens.transpose(1, 2).reshape(batch, channels, side, side)
