"""What a source's network has that some methods need: batch norms, residual blocks, its own classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from torch import nn

from automl_transfer.domain.dimensions import Trait

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone

NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
BRANCH_DROPS = ("drop_path", "drop_path1", "drop_path2", "stochastic_depth")
"""Where blocks of timm and torchvision drop the branch beside their shortcut; identities by default."""


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
    if not any(isinstance(layer, NORM_LAYERS) for layer in layers):
        found.add("unnormalised")
    if next(branch_drops(modules), None) is not None:
        found.add("residual_blocks")
    return frozenset(found)
