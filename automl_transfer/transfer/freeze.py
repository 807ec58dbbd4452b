"""What trains under a strategy, and a model that keeps the rest in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

from torch import Tensor, nn

from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.strategy import Strategy, TuneMode
from automl_transfer.models.adapters import adapters_in
from automl_transfer.models.heads import PooledHead, TargetModel
from automl_transfer.models.traits import is_norm
from automl_transfer.transfer.norms import batch_norms


class TransferModel(TargetModel):
    """A target model whose frozen groups and held norm layers stay in evaluation mode.

    `train()` has no effect on them, whoever calls it.
    """

    def __init__(self, groups: Iterable[nn.Module], head: PooledHead, resolution_scale: float = 1.0) -> None:
        super().__init__(groups, head, resolution_scale)
        self._frozen_groups: frozenset[int] = frozenset()
        self._held_norms: frozenset[int] = frozenset()

    def hold(self, frozen_groups: Iterable[int], held_norms: Iterable[int]) -> None:
        """State which groups never leave evaluation mode, and in which their batch norms don't."""
        self._frozen_groups = frozenset(frozen_groups)
        self._held_norms = frozenset(held_norms)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, except for what is held."""
        super().train(mode)
        for number, group in enumerate(self.groups):
            if number in self._frozen_groups:
                group.eval()
            elif number in self._held_norms:
                for layer in batch_norms([group]):
                    layer.eval()
        return self

    @property
    def frozen_groups(self) -> frozenset[int]:
        """Positions of the groups that are frozen."""
        return self._frozen_groups

    @property
    def frozen_prefix(self) -> int:
        """Number of leading groups that are frozen."""
        count = 0
        while count < len(self.groups) and count in self._frozen_groups:
            count += 1
        return count


def freeze(
    model: TransferModel, strategy: Strategy, transferred: int, tune_mode: TuneMode, frozen_groups: int
) -> None:
    """Set `requires_grad` of every parameter and hold what must not move.

    Args:
        model: Changed in place.
        strategy: Its norm policy.
        transferred: Number of leading groups whose weights are the source's.
        tune_mode: What trains.
        frozen_groups: Number of leading groups that do not, whatever the mode.

    Norm policies, for batch norm in groups that train: "frozen" keeps the statistics and the affine
    parameters that were transferred (freshly initialised layers have none worth keeping and train),
    "adapt" keeps the statistics estimated before training, "train" updates them. Tune modes "norm" and
    "bias" train their tensors whatever the policy; with "adapter", norms of transferred groups train
    under the policy "train" only.
    """
    mode = tune_mode
    third = surgical_third(strategy.block, len(model.groups))
    for number, group in enumerate(model.groups):
        keep_norms = strategy.norm_policy == "frozen" and number < transferred
        norm_tensors = {id(p) for p in _norm_parameters(group)}
        added = {id(p) for adapter in adapters_in(group) for p in adapter.parameters()}
        low_rank = set()
        if mode == "lora":
            low_rank = {id(p) for p in low_rank_weights(group, strategy.rank).values()}
        for name, parameter in group.named_parameters():
            kept = number < frozen_groups or (mode == "surgical" and number not in third)
            if kept or mode in (CLOSED_FORM, "head"):
                trains = False
            elif mode == "adapter" and number < transferred:
                moves = id(parameter) in norm_tensors and strategy.norm_policy == "train"
                trains = moves or id(parameter) in added
            elif mode == "lora" and number < transferred:
                trains = id(parameter) in low_rank
            elif mode == "norm":
                trains = id(parameter) in norm_tensors
            elif mode == "bias":
                trains = name.endswith("bias")
            else:
                trains = not (keep_norms and id(parameter) in norm_tensors)
            parameter.requires_grad_(trains)
    for parameter in model.head.parameters():
        parameter.requires_grad_(mode not in (CLOSED_FORM, "body"))
    frozen = {
        number
        for number, group in enumerate(model.groups)
        if not any(p.requires_grad for p in group.parameters())
    }
    held = range(len(model.groups) if strategy.norm_policy == "adapt" else transferred)
    model.hold(frozen, held if strategy.norm_policy != "train" else ())


def low_rank_weights(module: nn.Module, rank: int) -> dict[str, nn.Parameter]:
    """The weights, by name, to which two factors of that rank are fewer numbers; no depthwise kernels."""
    depthwise = {
        id(layer.weight)
        for layer in module.modules()
        if isinstance(layer, nn.modules.conv._ConvNd) and layer.groups == layer.in_channels > 1
    }
    return {
        name: weight
        for name, weight in module.named_parameters()
        if weight.dim() >= 2
        and id(weight) not in depthwise
        and rank * (len(weight) + weight[0].numel()) < weight.numel()
    }


def surgical_third(block: str, groups: int) -> range:
    """The groups of the first, middle or last third; at least one."""
    number = ("first", "middle", "last").index(block)
    begin = number * groups // 3
    return range(min(begin, groups - 1), max(begin + 1, (number + 1) * groups // 3))


def live_tensors(model: TransferModel) -> dict[str, Tensor]:
    """Parameters that train and buffers of groups that do, by name: all that training changes."""
    frozen = tuple(f"groups.{number}." for number in model.frozen_groups)
    found = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    found.update({n: b.detach() for n, b in model.named_buffers() if not (frozen and n.startswith(frozen))})
    return found


def _norm_parameters(module: nn.Module) -> Iterator[Tensor]:
    for layer in module.modules():
        if is_norm(layer):
            yield from layer.parameters(recurse=False)
