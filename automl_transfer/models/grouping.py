"""How a network is cut into layer groups, and the proof that the groups compute what it computes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from automl_transfer.errors import SourceError

MOST_GROUPS = 9
TOLERANCE = 1e-4
_PROOF_PIXELS = 64


@dataclass(frozen=True)
class Group:
    """One executable block and a phrase that says what it holds."""

    note: str
    module: nn.Module


@dataclass(frozen=True)
class Grouping:
    """A network as groups that run in order, then its tail: pooling and the original classifier.

    Attributes:
        prefix_tokens: Class and register tokens in front of the patch tokens.
    """

    groups: tuple[Group, ...]
    tail: nn.Module
    prefix_tokens: int = 0

    def classifier_names(self, model: nn.Module) -> frozenset[str]:
        """Names in `model` of the tensors that belong to the original classifier."""
        mine = {id(tensor) for tensor in (*self.tail.parameters(), *self.tail.buffers())}
        everything = (*model.named_parameters(), *model.named_buffers())
        return frozenset(name for name, tensor in everything if id(tensor) in mine)


Grouper = Callable[[nn.Module], Grouping]


class Layout(nn.Module):
    """Reorders the dimensions of an activation, for instance NHWC to NCHW."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """`x.permute(order)`."""
        return x.permute(self.order)


class GlobalAverage(nn.Module):
    """(B, C, H, W) to (B, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over height and width."""
        return x.mean(dim=(2, 3), keepdim=True)


def sequence(*modules: tuple[str, nn.Module]) -> nn.Sequential:
    """Named modules that run in order; the names end up in the state dict."""
    return nn.Sequential(OrderedDict(modules))


def group(note: str, *modules: tuple[str, nn.Module]) -> Group:
    """A group of named modules that run in order."""
    return Group(note, sequence(*modules))


def children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Direct children with their names."""
    return list(module.named_children())


def chunks(note: str, blocks: Sequence[tuple[str, nn.Module]], most: int, unit: str = "block") -> list[Group]:
    """Cut blocks that run in order into at most `most` groups of equal length (the last may be shorter)."""
    length = -(-len(blocks) // most)
    found = []
    for start in range(0, len(blocks), length):
        part = blocks[start : start + length]
        if len(part) == len(blocks):
            words = note
        elif len(part) == 1:
            words = f"{note}, {unit} {start + 1}"
        else:
            words = f"{note}, {unit}s {start + 1}-{start + len(part)}"
        found.append(group(words, *part))
    return found


def staged(stages: Iterable[Sequence[tuple[str, nn.Module]]]) -> list[Group]:
    """Cut the stages of a network, each in two where that makes less than `MOST_GROUPS` groups."""
    listed = list(stages)
    each = max(1, min(2, (MOST_GROUPS - 1) // len(listed)))
    return [part for number, stage in enumerate(listed, 1) for part in chunks(f"stage {number}", stage, each)]


def residual(model: Any, activation: str) -> tuple[Group, ...]:
    """The stem of a ResNet of either library, then each of its four stages in two."""
    stem = ("conv1", "bn1", activation, "maxpool")
    stages = [children(stage) for stage in (model.layer1, model.layer2, model.layer3, model.layer4)]
    return (group("stem", *((name, getattr(model, name)) for name in stem)), *staged(stages))


def led_by(
    first: tuple[str, nn.Module], blocks: Sequence[tuple[str, nn.Module]]
) -> list[tuple[str, nn.Module]]:
    """The blocks of a stage, the first of which begins with `first` (a downsampling, for instance)."""
    (name, block), *rest = blocks
    return [(name, sequence(first, ("block", block))), *rest]


def spaced(name: str) -> str:
    """A module's name for people.

    >>> spaced("denseblock3")
    'dense block 3'
    """
    words = name.rstrip("0123456789")
    return f"{words} {name[len(words) :]}".replace("denseblock", "dense block").strip()


def extend(groups: list[Group], *modules: tuple[str, nn.Module]) -> list[Group]:
    """Append modules without a boundary of their own to the last group."""
    last = groups[-1]
    return [*groups[:-1], group(last.note, *children(last.module), *modules)]


def fully_connected(
    classifier: nn.Module, before: Sequence[tuple[str, nn.Module]]
) -> tuple[list[Group], nn.Module]:
    """Cut a classifier of several layers after each activation; the last linear layer is the tail.

    `before` (pooling, flattening) belongs to the first group, or to the tail where there is none.
    """
    groups: list[Group] = []
    pending = list(before)
    linear = False
    layers = children(classifier)
    for position, (name, layer) in enumerate(layers):
        pending.append((name, layer))
        linear = linear or isinstance(layer, nn.Linear)
        if linear and not isinstance(layer, nn.Linear) and position < len(layers) - 1:
            groups.append(group(f"fully connected {len(groups) + 1}", *pending))
            pending, linear = [], False
    return groups, sequence(*pending)


@torch.no_grad()
def prove(model: nn.Module, grouping: Grouping, architecture: str, in_channels: int, resolution: int) -> None:
    """Show on random images that the groups and the tail compute what the network computes.

    Logits and the classifier's input must agree within `TOLERANCE` of their largest value, every
    weight must belong to exactly one group or the tail, and no group may change its input.

    Raises:
        SourceError: They do not.
    """
    model.eval()
    problem = _unassigned(model, grouping)
    if problem is None:
        problem = _difference(model, grouping, in_channels, resolution)
    if problem is not None:
        raise SourceError(
            f"the layer groups of {architecture} ({type(model).__name__}) must compute what the whole "
            f"network computes: {problem}; take another source, or add its family to models/families"
        )


def _unassigned(model: nn.Module, grouping: Grouping) -> str | None:
    seen: dict[int, int] = {}
    for module in (*(part.module for part in grouping.groups), grouping.tail):
        for parameter in module.parameters():
            seen[id(parameter)] = seen.get(id(parameter), 0) + 1
    for name, parameter in model.named_parameters():
        if seen.get(id(parameter), 0) != 1:
            return f"its tensor {name} is part of {seen.get(id(parameter), 0)} groups instead of one"
    return None


def _difference(model: nn.Module, grouping: Grouping, in_channels: int, resolution: int) -> str | None:
    linears = [module for module in grouping.tail.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    captured: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, x: captured.append(x[0].clone())) for layer in linears]
    reason = "it fails on random images"
    try:
        for size in dict.fromkeys((_PROOF_PIXELS, resolution)):
            generator = torch.Generator().manual_seed(size)
            images = torch.randn(2, in_channels, size, size, generator=generator)
            captured.clear()
            try:
                whole = model(images)
            except Exception as error:  # too small for this network: its native resolution decides
                reason = f"it fails on random images of {size} pixels ({_first_line(error)})"
                continue
            if not isinstance(whole, Tensor):
                return f"it returns {type(whole).__name__} instead of logits"
            expected = [whole, *captured]
            captured.clear()
            try:
                cut = _run(grouping, images)
            except Exception as error:
                return f"its groups do not run one after the other ({_first_line(error)})"
            if isinstance(cut, str):
                return cut
            return _compare(expected, [cut, *captured])
    finally:
        for hook in hooks:
            hook.remove()
    return reason


def _run(grouping: Grouping, x: Tensor) -> Tensor | str:
    for number, part in enumerate(grouping.groups, 1):
        before = x.clone()
        after = part.module(x)
        if not torch.equal(before, x):
            return f"its group {number} ({part.note}) changes its input in place"
        x = after
    logits: Tensor = grouping.tail(x)
    return logits


def _compare(expected: list[Tensor], received: list[Tensor]) -> str | None:
    if [tuple(a.shape) for a in expected] != [tuple(b.shape) for b in received]:
        return "the shapes of its logits differ"
    for a, b in zip(expected, received, strict=True):
        scale = float(a.abs().max())
        worst = float((a - b).abs().max())
        if not worst <= TOLERANCE * max(scale, 1e-12):  # also false for NaN
            return f"they differ by {worst:.3g} where the largest value is {scale:.3g}"
    return None


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
