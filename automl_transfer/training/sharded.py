"""Training where each device keeps a part of what trains: torch's `fully_shard` (FSDP; Zhao et al. 2023).

A layer group's weights are put together just before it is run, forward and backward, and dropped again; each
device keeps its part of weights, gradients and the optimiser's state. Between epochs a run has whole weights
on every device, and the whole state of the optimiser on its processor: it judges, saves and goes back as any
other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultAllGather, DefaultReduceScatter
from torch.distributed.tensor import DTensor

from automl_transfer.data.task import LoadedTask
from automl_transfer.training.batches import split_micro
from automl_transfer.training.crew import Crew, ElsewhereError, agreed, raise_together, words_of
from automl_transfer.training.inputs import Inputs
from automl_transfer.training.optimizers import make_optimizer
from automl_transfer.training.precision import Scaling
from automl_transfer.training.state import pack_terms, under
from automl_transfer.training.steps import Stepper
from automl_transfer.transfer.freeze import live_tensors
from automl_transfer.transfer.plan import TransferPlan
from automl_transfer.transfer.terms.base import is_part, part_of

T = TypeVar("T")


class Parts:
    """A crew whose members keep parts of the weights: every pass through the model takes them all.

    Before each exchange within a step all of them say that they are there for it, so that one that ran out of
    memory stops the others at their next one.
    """

    shards = True

    def __init__(self, crew: Crew) -> None:
        self._crew, self.rank, self.size = crew, crew.rank, crew.size
        self._stopped = False

    @property
    def lost(self) -> bool:
        """See `Crew.lost`."""
        return self._crew.lost

    def share(self, rows: np.ndarray, least: int, at_once: int) -> list[np.ndarray]:
        """See `Crew.share`: as many parts for each."""
        if len(rows) < least * self.size:
            return split_micro(rows, at_once, least)
        shares = np.array_split(rows, self.size)
        parts = min(-(-len(shares[0]) // max(at_once, 1)), len(shares[-1]) // least)
        return list(np.array_split(shares[self.rank], max(1, parts)))

    def add(self, values: Sequence[float]) -> list[float]:
        """See `Crew.add`."""
        return self._crew.add(values)

    def sync(self, parameters: Sequence[nn.Parameter], loss: Tensor, trouble: str) -> str:
        """See `Crew.sync`: gradients are summed already."""
        if not self._stopped:
            said, total = self.add([float(bool(trouble)), 0.0 if trouble else float(loss)])
            if not said:
                loss.fill_(total)
                return ""
        self._stopped = False
        return self.agree(trouble)

    def agree(self, trouble: str) -> str:
        """See `Crew.agree`."""
        return self._crew.agree(trouble)

    def exchange(self, exchange: Callable[[], T]) -> T:
        """See `Crew.exchange`; within a step, where another member may be in `sync` already.

        Raises:
            ElsewhereError: So one is; what it says is heard in `sync`.
        """
        said, _ = self.add([0.0, 0.0])
        if said:
            self._stopped = True
            raise ElsewhereError("all devices must get through a step, got one that did not")
        return self._crew.exchange(exchange)

    def even_out(self, buffers: Sequence[Tensor], images: int) -> None:
        """See `Crew.even_out`."""
        self._crew.even_out(buffers, images)

    def hand_out(self, value: Any) -> Any:
        """See `Crew.hand_out`."""
        return self._crew.hand_out(value)


class ShardedStepper:
    """As `Stepper`, for a crew whose members keep parts.

    What trains in an epoch is a copy of the plan's model: groups that are frozen are shared with it, the
    others sharded. The copy takes weights and states from the plan before an epoch and gives them back after.

    Attributes:
        plan: Whose weights are whole.
        optimizer: Of the whole weights, on the processor: it keeps the state and takes no step.
        scaling: As `Stepper` has it.
    """

    sharded = True

    def __init__(
        self, plan: TransferPlan, task: LoadedTask, device: torch.device, crew: Crew, scaling: Scaling
    ) -> None:
        self.plan, self._task, self._device, self._crew = plan, task, device, Parts(crew)
        self.scaling = scaling
        groups = [{**group, "params": [_kept(p) for p in group["params"]]} for group in plan.parameter_groups]
        self.optimizer = make_optimizer(plan.strategy, groups, torch.device("cpu"))
        self._made: Stepper | None = None
        self._gather = _Gather(self._crew)

    def train(
        self,
        inputs: Inputs,
        batches: Sequence[np.ndarray],
        *,
        at_once: int,
        least: int,
        epoch: int,
        schedule: tuple[int, int],
    ) -> tuple[float, float]:
        """See `Stepper.train`."""
        stepper = agreed(self._crew, self._taken)
        self._made = None  # what a step that failed has left is of no use
        found = stepper.train(inputs, batches, at_once=at_once, least=least, epoch=epoch, schedule=schedule)
        trouble: Exception | None = None
        try:
            self._give(stepper)
        except ElsewhereError:
            pass
        except (RuntimeError, MemoryError) as error:
            trouble = error
        raise_together(trouble, self._crew.sync((), torch.zeros(()), words_of(trouble)))
        self._made = stepper
        return found

    @torch.no_grad()
    def _taken(self) -> Stepper:
        """The stepper of the copy, with its weights and states as the plan has them."""
        found = self._made or Stepper(
            sharded(self.plan, self._device, self._crew), self._task, self._device, self._crew, self.scaling
        )
        whole = live_tensors(self.plan.model)
        for name, tensor in live_tensors(found.plan.model).items():
            _local(tensor).copy_(_local(part_of(whole[name], tensor)))
        state = self.optimizer.state_dict()
        weights = [p for group in found.optimizer.param_groups for p in group["params"]]
        parts = {
            number: {key: _part(value, weights[number]) for key, value in entry.items()}
            for number, entry in state["state"].items()
        }
        found.optimizer.load_state_dict(
            {"state": parts, "param_groups": found.optimizer.state_dict()["param_groups"]}
        )
        kept = pack_terms(self.plan.terms)
        for number, term in enumerate(found.plan.terms):
            term.load_state(under(kept, f"{number}."))
        return found

    @torch.no_grad()
    def _give(self, stepper: Stepper) -> None:
        """Weights and states go back to the plan."""
        whole = live_tensors(self.plan.model)
        for name, tensor in live_tensors(stepper.plan.model).items():
            whole[name].copy_(self._gathered(tensor))
        state = stepper.optimizer.state_dict()
        found = {
            number: {key: self._gathered(value).cpu() for key, value in entry.items()}
            for number, entry in state["state"].items()
        }
        self.optimizer.load_state_dict(
            {"state": found, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )
        for own, other in zip(self.plan.terms, stepper.plan.terms, strict=True):
            own.load_state({name: self._gathered(tensor) for name, tensor in other.state().items()})

    def _gathered(self, value: Any) -> Any:
        """All parts of a tensor together; what is whole already stays."""
        if not isinstance(value, DTensor):
            return value
        rows = -(-len(value) // self._crew.size)  # of the first parts; those of the last ones are fewer
        part = value.to_local()
        padded = part.new_zeros((rows, *value.shape[1:]))
        padded[: len(part)] = part
        found = part.new_empty((rows * self._crew.size, *value.shape[1:]))
        everybody = distributed.group.WORLD
        assert everybody is not None
        self._gather(found, padded, everybody)
        return found[: len(value)]


def sharded(plan: TransferPlan, device: torch.device, crew: Crew) -> TransferPlan:
    """A copy of a plan whose groups that train are sharded; those that are frozen are the plan's own."""
    model = plan.model
    frozen = [*(model.groups[number] for number in model.frozen_groups)]
    if not any(p.requires_grad for p in model.head.parameters()):
        frozen.append(model.head)
    model, terms = copy.deepcopy((model, plan.terms), {id(module): module for module in frozen})
    kept = {p for module in frozen for p in module.parameters()}
    mesh = init_device_mesh(device.type, (crew.size,))
    for layer in (*model.groups, model.head):
        if layer not in frozen:
            for parameter in layer.parameters():
                parameter.data = parameter.data.contiguous()
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(model, mesh=mesh, ignored_params=kept)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_custom_all_gather(_Gather(crew))
            module.set_custom_reduce_scatter(_Sum(crew))
    for term in terms:
        term.sharded()
    return replace(plan, model=model, terms=terms)


class _Gather(DefaultAllGather):
    """Puts weights together, where all members have come so far."""

    def __init__(self, crew: Crew) -> None:
        super().__init__()
        self._crew = crew

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: distributed.ProcessGroup,
        async_op: bool = False,
    ) -> distributed.Work | None:
        gather = super().__call__
        return self._crew.exchange(lambda: gather(output_tensor, input_tensor, group, async_op))


class _Sum(DefaultReduceScatter):
    """Adds gradients up, where all members have come so far; a step's loss is a mean already."""

    def __init__(self, crew: Crew) -> None:
        super().__init__()
        self._crew = crew

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: distributed.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> distributed.Work | None:
        add, total = super().__call__, distributed.ReduceOp.SUM
        return self._crew.exchange(lambda: add(output_tensor, input_tensor, group, total, async_op))


def _kept(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.detach().cpu())


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _part(value: Any, weight: Tensor) -> Any:
    """Of a weight's moment, the part that goes with the part of the weight; numbers of steps are whole."""
    if isinstance(value, Tensor) and value.dim() and is_part(weight):
        return part_of(value, weight)
    return value.clone() if isinstance(value, Tensor) else value
