"""Convolution and batch norm as one convolution, in groups that stay in evaluation mode.

A batch norm in evaluation mode is an affine map a channel, which the convolution before it can carry in its
weights and bias (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3.2). The values are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from automl_transfer.models.heads import TargetModel

TOLERANCE = 1e-2
"""Largest difference, relative to the largest activation: fused by mistake gives about 1, rounding 1e-6."""


@torch.no_grad()
def fused(groups: Iterable[nn.Module], x: Tensor) -> list[nn.Module]:
    """Consecutive groups with their batch norms folded into the convolutions before them.

    The originals stay as they are, and stand in the result where there is nothing to fold. Which
    convolution feeds which norm is seen by running them; a group that then gives something else (its
    convolution's output is used twice, say) is left alone.

    Args:
        groups: In evaluation mode.
        x: An input of the first group, one image or more.
    """
    found = []
    for group in groups:
        output, pairs = _pairs(group, x)
        found.append(_folded(group, pairs, x, output) if pairs else group)
        x = output
    return found


def with_fused(model: TargetModel, x: Tensor, stop: int, start: int = 0) -> TargetModel:
    """The model with `groups[start:stop]` fused; the head and all other groups are the model's own.

    Args:
        model: Those groups in evaluation mode.
        x: An input of group `start`: images, or an activation.
        stop: Number of leading groups that end up fused or are not run.
        start: The first group to fuse.
    """
    groups = list(model.groups)
    groups[start:stop] = fused(groups[start:stop], model.resize(x) if start == 0 else x)
    return TargetModel(groups, model.head, model.resolution_scale)


def _pairs(group: nn.Module, x: Tensor) -> tuple[Tensor, list[tuple[str, str]]]:
    """The group's output, and names of convolutions and of the norms that take their outputs."""
    made: list[tuple[str, Tensor]] = []  # the tensors are kept, so that none takes another's identity
    pairs: dict[str, str] = {}
    hooks = []
    for name, module in group.named_modules():
        if isinstance(module, nn.Conv2d):

            def after(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                made.append((name, output))

            hooks.append(module.register_forward_hook(after))
        elif _can_be_folded(module):

            def before(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                pairs.update({conv: name for conv, output in made if output is inputs[0]})

            hooks.append(module.register_forward_pre_hook(before))
    try:
        output: Tensor = group(x)
    finally:
        for hook in hooks:
            hook.remove()
    twice = {conv for conv, _ in made if sum(conv == other for other, _ in made) > 1}
    return output, [pair for pair in pairs.items() if pair[0] not in twice]


def _can_be_folded(module: nn.Module) -> bool:
    known = type(module) is nn.BatchNorm2d or (hasattr(module, "drop") and hasattr(module, "act"))
    return (
        known
        and isinstance(module, nn.BatchNorm2d)
        and not module.training
        and module.running_mean is not None
        and module.running_var is not None
    )


def _folded(group: nn.Module, pairs: list[tuple[str, str]], x: Tensor, expected: Tensor) -> nn.Module:
    made = _copied(group)
    for conv_name, norm_name in pairs:
        conv, norm = made.get_submodule(conv_name), made.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        conv.register_parameter("bias", bias)
        # timm's norms carry what follows them.
        follows = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
        rest = nn.Sequential(*follows) if follows else nn.Identity()
        _replace(made, norm_name, rest.eval())
    difference = (made(x) - expected).abs().max()
    return made if bool(difference <= TOLERANCE * expected.abs().max()) else group


def _copied(module: nn.Module) -> nn.Module:
    """The same modules once more, on the same tensors: ten times quicker than a deep copy."""
    made = module.__new__(type(module))
    made.__dict__ = {
        **module.__dict__,
        "_parameters": dict(module._parameters),
        "_buffers": dict(module._buffers),
        "_modules": {name: child and _copied(child) for name, child in module._modules.items()},
    }
    return made


def _replace(parent: nn.Module, name: str, module: nn.Module) -> None:
    path, _, last = name.rpartition(".")
    setattr(parent.get_submodule(path), last, module)
