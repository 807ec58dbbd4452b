"""What a step leaves out: pooled features before the head, and branches of residual blocks."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from automl_transfer.errors import ConfigurationError
from automl_transfer.models.adapters import Adapter
from automl_transfer.models.traits import branch_drops
from automl_transfer.transfer.terms.base import Beginning, Term


class Dropout(Term):
    """Each pooled feature is zero in a step with probability `strength`, else 1 / (1 - strength) as large.

    Srivastava et al. 2014, section 10, before the new head only: where timm's networks have theirs.
    """

    shards = True

    def begin(self, beginning: Beginning) -> None:
        """Find the head."""
        self._head = beginning.model.head

    def hooks(self) -> Iterable[RemovableHandle]:
        """Drop what the head reads."""

        def drop(head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (F.dropout(inputs[0], self.strength, head.training),)

        yield self._head.register_forward_pre_hook(drop)


class BranchDrop(nn.Module):
    """A branch is zero for an image with probability `rate` while training, else 1 / (1 - rate) as large."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """The branch (B, ...), of the same shape."""
        if not self.training or self.rate == 0.0:
            return branch
        kept = branch.new_empty((len(branch), *[1] * (branch.dim() - 1))).bernoulli_(1.0 - self.rate)
        return branch * (kept / (1.0 - self.rate))


class DropPath(Term):
    """Stochastic depth: block l of L is left out with probability l / L * strength (Huang 2016, eq. 4).

    Blocks of frozen groups are in evaluation mode and stay whole.
    """

    shards = True

    def begin(self, beginning: Beginning) -> None:
        """Put the drops into the model's blocks.

        Raises:
            ConfigurationError: The source has none whose branch can be left out.
        """
        found = list(branch_drops(beginning.model.groups))  # perhaps none, where the network is cut early
        if next(branch_drops(beginning.source.groups), None) is None:
            raise ConfigurationError(
                f"drop_path must be 0 where the network has no residual blocks, got {self.strength:g} for "
                f"{beginning.source.architecture}: set it to 0, or take another source"
            )
        blocks = {id(block): None for block, _ in found}
        places = {block: number for number, block in enumerate(blocks, start=1)}
        for block, name in found:
            drop = BranchDrop(self.strength * places[id(block)] / len(places))
            adapter = getattr(block, name)
            place = (adapter, "drop") if isinstance(adapter, Adapter) else (block, name)
            setattr(*place, drop.train(block.training))
