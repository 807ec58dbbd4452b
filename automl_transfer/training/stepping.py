"""What takes a run's steps: with the whole weights here, or with a part of them on each device."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.spec import Precision
from automl_transfer.training.crew import Crew
from automl_transfer.training.precision import Scaling
from automl_transfer.training.steps import Stepper
from automl_transfer.transfer.plan import TransferPlan

if TYPE_CHECKING:
    from automl_transfer.training.sharded import ShardedStepper

_log = logging.getLogger(__name__)


def stepper_for(
    plan: TransferPlan, task: LoadedTask, device: torch.device, crew: Crew, precision: Precision
) -> Stepper | ShardedStepper:
    """Who takes the steps of a phase. Where a crew is to shard weights and cannot, it says so."""
    scaling = Scaling(precision, device)
    if not crew.shards:
        return Stepper(plan, task, device, crew, scaling)
    if whole := [type(term).__name__ for term in plan.terms if not term.shards]:
        _log.warning("all weights of this trial are on each device: %s reads them whole", ", ".join(whole))
        return Stepper(plan, task, device, crew, scaling)
    from automl_transfer.training.sharded import ShardedStepper  # FSDP takes half a second to import

    return ShardedStepper(plan, task, device, crew, scaling)
