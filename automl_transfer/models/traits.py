"""What a network has: layers and parameters by kind, and what some methods need of a source's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

from automl_transfer.domain.dimensions import Trait

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone

_NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_NORM_NAMES = ("RmsNorm", "SimpleNorm", "EvoNorm", "FilterResponseNorm")
"""How names of timm's own begin, which are modules of no such class."""
BRANCH_DROPS = ("drop_path", "drop_path1", "drop_path2", "stochastic_depth")
"""Where blocks of timm and torchvision drop the branch beside their shortcut; identities by default."""


def is_norm(layer: nn.Module) -> bool:
    """Whether this is a norm layer of torch, or one of timm's own."""
    return isinstance(layer, _NORM_LAYERS) or type(layer).__name__.startswith(_NORM_NAMES)


def is_vector(parameter: Tensor) -> bool:
    """Whether it has one number a channel: a bias, a norm's weight, a scale that is (C, 1, 1) for maps."""
    return parameter.dim() < 2 or (parameter.dim() > 2 and parameter[0].numel() == 1)


def branch_drops(modules: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, str]]:
    """Blocks whose branch can be left out, and the attribute that does it, in order."""
    for module in modules:
        for block in module.modules():
            if getattr(block, "has_skip", True) and getattr(block, "use_res_connect", True):
                yield from ((block, name) for name in BRANCH_DROPS if hasattr(block, name))


def traits_of(backbone: Backbone) -> frozenset[Trait]:
    """What a loaded source has."""
    found = traits_in(list(backbone.groups))
    return found if backbone.source_head is None else found | {"source_head"}


def traits_in(modules: list[nn.Module]) -> frozenset[Trait]:
    """What a network of these modules has; a classifier of its own is not looked for."""
    layers = [layer for module in modules for layer in module.modules()]
    found: set[Trait] = set()
    norms = [layer for layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if any(layer.running_mean is not None for layer in norms):
        found.add("batch_norms")
    if not any(is_norm(layer) for layer in layers):
        found.add("unnormalised")
    if next(branch_drops(modules), None) is not None:
        found.add("residual_blocks")
    return frozenset(found)
