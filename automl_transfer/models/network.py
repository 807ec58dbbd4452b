"""The backbone: a network cut into layer groups that run one after the other, for gray or RGB images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from automl_transfer.errors import SourceError

Shape = tuple[int, ...]

MOST_RUN = 512
"""Pixels a side up to which the shapes of activations are found by computing them."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within the block the model is in evaluation mode; then each module's mode is what it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class Backbone(nn.Module):
    """Ordered, executable layer groups g1 ... gG; the original classifier is not part of it.

    Every boundary between groups is a place where a network may be cut: activations there are
    (B, C, H, W) maps, (B, N, C) tokens or (B, F) features, and no group changes its input in place. In
    evaluation mode an image's activations depend on that image alone.

    Attributes:
        architecture: For instance "timm/tf_efficientnet_lite0"; `build_architecture` takes it.
        groups: Each takes the previous one's output; the first takes (B, in_channels, H, W) pixels.
        group_names, group_notes: "g1", ... and what each holds ("stem", "stage 2, blocks 1-2").
        mean, std: Normalisation of RGB pixels in [0, 1] that the weights were trained with.
        resolution: Native height and width in pixels; others work down to the network's own limit.
        pretrained: Whether the weights were trained (or are random).
        prefix_tokens: Class and register tokens in front of the patch tokens (transformers only).
        notes: What a person should know about how the weights were loaded.
        source_head: The network's own pooling and classifier, from the last group's output to its logits, in
            evaluation mode; None where there is none that was trained. No part of the module tree.

    Raises:
        SourceError: A batch norm has no running statistics.
    """

    def __init__(
        self,
        architecture: str,
        groups: Sequence[nn.Module],
        group_notes: Sequence[str],
        *,
        in_channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        resolution: int,
        pretrained: bool,
        prefix_tokens: int = 0,
        notes: Sequence[str] = (),
        source_head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not groups or len(groups) != len(group_notes):
            raise ValueError(
                f"a backbone needs one note per group and at least one, got {len(groups)}, {len(group_notes)}"
            )
        _refuse_batch_statistics(architecture, groups)
        self.architecture = architecture
        self.groups = nn.ModuleList(groups)
        self.group_names = tuple(f"g{number}" for number in range(1, len(groups) + 1))
        self.group_notes = tuple(group_notes)
        self.in_channels = in_channels
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)
        self.resolution = resolution
        self.pretrained = pretrained
        self.prefix_tokens = prefix_tokens
        self.notes = tuple(notes)
        # In a tuple: as a child it would be part of what is transferred.
        self._source_head = (source_head,)

    @property
    def source_head(self) -> nn.Module | None:
        """The network's own classifier. Callers must not change it."""
        return self._source_head[0]

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Run `groups[start:stop]`; `x` is the input of group `start` (0-based)."""
        for group in self.groups[start:stop]:
            x = group(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Run all groups: the last activation, not logits."""
        return self.run(x)

    @torch.no_grad()
    def shapes(self, resolution: int | None = None, stop: int | None = None) -> tuple[Shape, ...]:
        """The shape of one image's activation after each of `groups[:stop]`, without the batch dimension.

        Found by running one black image in evaluation mode; weights, statistics and modes stay as
        they are. An image of more than `MOST_RUN` pixels a side has no values: a file may ask for thousands,
        and nothing but the shapes is wanted.

        Raises:
            SourceError: The images are too small for this network.
        """
        size = resolution or self.resolution
        found: list[Shape] = []
        try:
            with evaluating(self):
                if size > MOST_RUN and (without := self._shapes_without_values(size, stop)) is not None:
                    return without
                parameter = next(self.parameters())
                x = torch.zeros(
                    1, self.in_channels, size, size, device=parameter.device, dtype=parameter.dtype
                )
                for group in self.groups[:stop]:
                    x = group(x)
                    found.append(tuple(x.shape[1:]))
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise SourceError(
                f"images must be large enough for {self.architecture} (made for {self.resolution} pixels), "
                f"got {size} pixels, which fails after group {len(found)} of {len(self.groups)} "
                f"({reason}): raise the task's resolution or take another source"
            ) from error
        return tuple(found)

    def _shapes_without_values(self, size: int, stop: int | None) -> tuple[Shape, ...] | None:
        """The same on torch's `meta` device, which has no values; None where a group needs them."""
        x = torch.zeros(1, self.in_channels, size, size, device="meta", dtype=next(self.parameters()).dtype)
        found: list[Shape] = []
        try:
            for group in self.groups[:stop]:
                state = itertools.chain(group.named_parameters(), group.named_buffers())
                nothing = {name: torch.empty_like(tensor, device="meta") for name, tensor in state}
                x = torch.func.functional_call(group, nothing, (x,))
                found.append(tuple(x.shape[1:]))
        except (RuntimeError, ValueError, AssertionError):
            return None
        return tuple(found)


def _refuse_batch_statistics(architecture: str, groups: Sequence[nn.Module]) -> None:
    for number, group in enumerate(groups, start=1):
        for name, layer in group.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
                raise SourceError(
                    "batch norms must have running statistics, got none in "
                    f"{name or type(layer).__name__} of group {number} of {architecture}: it normalises by "
                    "the batch, so that what the network says of an image depends on the images beside it: "
                    "nothing of it can be frozen, stored or trusted for one image. Build it with "
                    "track_running_stats=True, or with group or layer norm"
                )


def first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the convolution (or patch embedding) that reads the image.

    Raises:
        SourceError: The network has none, or it cannot be adapted.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.groups == 1 and module.in_channels in (1, 3):
                return name, module
            break
    raise SourceError(
        f"the first layer must be a plain convolution over 1 or 3 channels, {type(model).__name__} "
        "has another: take another source"
    )


_DROPS = ("StochasticDepth", "DropPath")
"""Layers of torchvision and timm."""


def keep_branches(model: nn.Module) -> None:
    """Take out, in place, what would leave out branches while training as often as on ImageNet."""
    for block in list(model.modules()):
        for name, layer in block.named_children():
            if type(layer).__name__ in _DROPS:
                setattr(block, name, nn.Identity())


@torch.no_grad()
def adapt_channels(model: nn.Module, in_channels: int) -> None:
    """Make the first convolution read `in_channels` channels, in place.

    3 to 1 sums the filters over RGB: a gray image gives what the same image repeated thrice gave.
    1 to 3 repeats them divided by 3: an RGB image with equal channels gives what the gray one gave.
    Both hold where the normalisation is the same for all channels.
    """
    _, conv = first_convolution(model)
    if conv.in_channels == in_channels:
        return
    weight = conv.weight
    if in_channels == 1:
        adapted = weight.sum(dim=1, keepdim=True)
    else:
        adapted = weight.expand(-1, in_channels, -1, -1) / in_channels
    conv.weight = nn.Parameter(adapted.clone(), requires_grad=weight.requires_grad)
    conv.in_channels = in_channels
