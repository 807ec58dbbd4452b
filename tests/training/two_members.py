"""One of two processes that train runs together over gloo; the first one writes down what came out.

    RANK=0 WORLD_SIZE=2 python two_members.py FOLDER

`FOLDER/cases.json` lists runs. Each has changes of the strategy, and perhaps `shards`, `precision`, `epochs`,
`fails` (the second member is out of memory, once), `save` and `restore` (folders), `draws` (what each member draws
by chance is written down), `threads` (of each member).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from small_runs import CPU, small_backbone, small_task, strategy
from torch import Tensor, distributed, nn

from automl_transfer.domain.horizon import Horizon
from automl_transfer.machine import end_at_once
from automl_transfer.training.crew import OVER, Crew, Over
from automl_transfer.training.making import make_run
from automl_transfer.training.run import TrainingRun
from automl_transfer.training.sharded import ShardedStepper
from automl_transfer.training.team import Team


class LimitedOnce(nn.Module):
    """Has no memory once, in the second epoch. Copies of it are one device's, too."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        LimitedOnce.calls += self.training
        if LimitedOnce.calls == 10:
            LimitedOnce.calls += 1
            raise torch.OutOfMemoryError(f"no memory for {len(x)} images")
        return x


class Draws(nn.Module):
    """Draws a number in each pass of a step, as dropout and noise do, and writes it down."""

    seen: ClassVar[list[float]] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            Draws.seen.append(float(torch.rand(())))
        return x


def run_of(case: Mapping[str, Any], folder: Path, crew: Crew | None = None) -> TrainingRun:
    extra: nn.Module | None = None
    if case.get("fails") and crew is not None and crew.rank == 1:
        LimitedOnce.calls, extra = 0, LimitedOnce()
    if case.get("draws"):
        Draws.seen, extra = [], Draws()
    return make_run(
        strategy(**case.get("changes", {})),
        small_task(folder / "cache"),
        small_backbone(residual=True, extra=extra),
        horizon=Horizon(case.get("epochs", 2)),
        seed=0,
        device=CPU,
        crew=crew,
        precision=case.get("precision", "fp32"),
    )


def trained(run: TrainingRun, case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What is to be compared."""
    losses = []
    for result in run.epochs():
        losses.append([result.train_loss, result.validation_loss])
        if "save" in case and result.epoch == 1:
            run.save(folder / case["save"])
    scaling = run._stepper.scaling if run._stepper else None
    return {
        "losses": losses,
        "batch": run.batch,
        "conditions": run.conditions(),
        "skipped": scaling.skipped if scaling else 0,
        "sha256": run.weights_sha256(),
        "kept": kept(run),
    }


def kept(run: TrainingRun) -> list[int]:
    """Of the parameters that train, how many this member keeps, and how many there are."""
    if not isinstance(run._stepper, ShardedStepper) or run._stepper._made is None:
        return []
    weights = [p for group in run._stepper._made.optimizer.param_groups for p in group["params"]]
    return [sum(p.to_local().numel() for p in weights), sum(p.numel() for p in weights)]


def main(folder: Path) -> None:
    team = Team(CPU, f"file://{folder / 'meet'}")
    found = []
    for case in json.loads((folder / "cases.json").read_text(encoding="utf-8")):
        team.shards = case.get("shards", True)
        torch.set_num_threads(case.get("threads", (1, 1))[team.rank])
        run = run_of(case, folder, team)
        if "restore" in case:
            run.restore(folder / case["restore"])
        if team.rank == 0:
            found.append(trained(run, case, folder))
            team.hand_out(OVER)
        else:
            try:
                run.follow()
                team.hand_out(None)
            except Over:
                pass
        told: list[Any] = [None] * team.size
        distributed.all_gather_object(told, (Draws.seen, run.weights_sha256()))
        if found:
            found[-1]["drawn"], found[-1]["weights"] = zip(*told, strict=True)
    if team.rank == 0:
        (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")
    team.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    end_at_once(0)  # as the program does: gloo's threads may outlive the interpreter, which then aborts
