"""Several devices of one machine train one model: a crew over torch.distributed."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from automl_transfer.errors import TrialDataError
from automl_transfer.training.batches import split_micro

PATIENCE = datetime.timedelta(days=30)
"""How long a member waits for the others: between trials, for as long as there is no work. One that died is
noticed at once, because its connection closes."""

T = TypeVar("T")


class Team:
    """A member of a crew of processes that torchrun has started, one a device.

    Gradients travel by NCCL between GPUs and by gloo between processors; all else by gloo.

    Args:
        device: Of this member.
        meet: Where the members meet, as torch writes it; by default as torchrun's environment says.
        shards: Whether each keeps a part of the weights that train.

    Attributes:
        lost: Whether another member is gone: then nothing can be trained together any more.
    """

    def __init__(self, device: torch.device, meet: str | None = None, *, shards: bool = False) -> None:
        self.device, self.shards, self.lost = device, shards, False
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group(
            backend,
            timeout=PATIENCE,
            init_method=meet,
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
        )
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def share(self, rows: np.ndarray, least: int, at_once: int) -> list[np.ndarray]:
        """See `Crew.share`."""
        if len(rows) >= least * self.size:
            rows = np.array_split(rows, self.size)[self.rank]
        elif self.rank > 0:
            return []
        return split_micro(rows, at_once, least)

    def add(self, values: Sequence[float]) -> list[float]:
        """See `Crew.add`."""
        found = torch.tensor(values, dtype=torch.float64)
        self._summed(found)
        return [float(value) for value in found]

    def sync(self, parameters: Sequence[nn.Parameter], loss: Tensor, trouble: str) -> str:
        """See `Crew.sync`. One exchange: gradients, the loss, and whether anybody is in trouble."""
        trained = [p for p in parameters if p.requires_grad]
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).float() for p in trained]
            + [loss.reshape(1).float(), torch.tensor([float(bool(trouble))], device=self.device)]
        )
        if trouble:
            flat[:-1] = 0.0
        self._summed(flat)
        if flat[-1] > 0:
            return self.agree(trouble)
        loss.copy_(flat[-2])
        at = 0
        for p in trained:
            part = flat[at : at + p.numel()].view_as(p)
            at += p.numel()
            if p.grad is None:
                p.grad = part.to(p.dtype).clone(memory_format=torch.preserve_format)
            else:
                p.grad.copy_(part)
        return ""

    def agree(self, trouble: str) -> str:
        """See `Crew.agree`."""
        said: list[Any] = [None] * self.size
        self.exchange(lambda: distributed.all_gather_object(said, trouble))
        return next((str(each) for each in said if each), "")

    @torch.no_grad()
    def even_out(self, buffers: Sequence[Tensor], images: int) -> None:
        """See `Crew.even_out`."""
        (total,) = self.add([images])
        for buffer in buffers:
            buffer *= images / max(1.0, total)
            self._summed(buffer)

    def exchange(self, exchange: Callable[[], T]) -> T:
        """See `Crew.exchange`."""
        try:
            return exchange()
        except RuntimeError as error:
            self.lost = True
            raise CrewLostError(
                f"all {self.size} devices must train to the end, got one whose process is gone ({error})"
            ) from error

    def hand_out(self, value: Any) -> Any:
        """See `Crew.hand_out`."""
        box: list[Any] = [value if self.rank == 0 else None]
        self.exchange(lambda: distributed.broadcast_object_list(box, src=0))
        return box[0]

    def end(self) -> None:
        """The first member leaves: the others may."""
        if not self.lost:
            self.hand_out(None)
            self.leave()

    def leave(self) -> None:
        """Close the connections."""
        if not self.lost:
            distributed.destroy_process_group()

    def _summed(self, values: Tensor) -> None:
        self.exchange(lambda: distributed.all_reduce(values))


class CrewLostError(TrialDataError):
    """A member's process is gone: the trial fails and is tried again, by another crew."""
