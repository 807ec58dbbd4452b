"""The peer: plain Optuna as a competent user would write it, for one cell of the race.

    python benchmarks/race/peer.py TASK SEED --minutes 15 --output FILE.json

Data in memory, timm's network with the same ImageNet weights, AdamW with one-cycle, 9 epochs, TPE with
Hyperband over the same dimensions, no cache. Nothing of automl-transfer but the same images and splits.
Each new incumbent (by validation accuracy) is judged on the test split, with the clock stopped. Ctrl-Z
pauses: the clock stands still until `fg`.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import numpy as np
import optuna
import timm
import torch
from clock import Clock
from here import machine
from lite0 import pretrained
from tasks import TASKS, load
from torch import Tensor, nn
from torch.nn import functional as F

EPOCHS, DEPTHS = 9, 9


def stages(model: nn.Module) -> list[nn.Module]:
    """The network's parts from input to classifier, for freezing and fresh initialisation."""
    return [
        nn.ModuleList([model.conv_stem, model.bn1]), *model.blocks, nn.ModuleList([model.conv_head, model.bn2])
    ]  # fmt: skip


def tensors(task: Any, split: str) -> tuple[Tensor, Tensor]:
    rows = task.indices[split]
    images = torch.from_numpy(np.array(task.images[rows])).permute(0, 3, 1, 2).float()
    images = ((images / 255.0) - 0.5) / 0.5
    return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(task.labels[rows].copy())


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    model.eval()
    hits = sum(
        int((model(x).argmax(1) == y).sum())
        for x, y in zip(images.split(128), labels.split(128), strict=True)
    )
    return hits / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("seed", type=int)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    clock, budget = Clock(), 60 * options.minutes
    with clock.stopped():
        here = machine()
    task = load(options.task, options.seed)
    train, validation, test = (tensors(task, split) for split in ("train", "validation", "test"))
    base = pretrained(task.task.channels, len(task.task.classes))
    curve: list[dict[str, float]] = []
    best = -1.0

    def objective(trial: optuna.Trial) -> float:
        nonlocal best
        model = copy.deepcopy(base).to(memory_format=torch.channels_last)
        depth = trial.suggest_int("transfer_depth", 4, DEPTHS)
        frozen = trial.suggest_int("freeze_depth", 0, DEPTHS - 1)
        for number, stage in enumerate(stages(model)):
            if number >= depth:
                for layer in stage.modules():
                    if isinstance(layer, nn.Conv2d):
                        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            for parameter in stage.parameters():
                parameter.requires_grad_(number >= min(frozen, depth))
        train_norms = trial.suggest_categorical("norms", [True, False])
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
        multiplier = trial.suggest_float("head_lr_mult", 1.0, 10.0, log=True)
        decay = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
        batch = trial.suggest_categorical("batch", [32, 64, 128])
        head = list(model.get_classifier().parameters())
        body = [p for n, p in model.named_parameters() if p.requires_grad and not n.startswith("classifier")]
        groups = [{"params": head, "lr": rate * multiplier}, {"params": body, "lr": rate}]
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=decay)
        images, labels = train
        steps = -(-len(labels) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [group["lr"] for group in optimizer.param_groups], total_steps=EPOCHS * steps
        )
        highest = 0.0
        for epoch in range(1, EPOCHS + 1):
            model.train()
            if not train_norms:
                for layer in model.modules():
                    if isinstance(layer, nn.BatchNorm2d):
                        layer.eval()
            for rows in torch.randperm(len(labels)).split(batch):
                if clock.now() >= budget:
                    trial.study.stop()
                    return highest
                if len(rows) < 2:
                    continue
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(model(images[rows]), labels[rows]).backward()
                optimizer.step()
                schedule.step()
            value = accuracy(model, *validation)
            if value > best:
                best = value
                reached = clock.now()
                with clock.stopped():
                    on_test = accuracy(model, *test)
                curve.append({"seconds": reached, "validation": value, "test": on_test})
            highest = max(highest, value)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return highest

    torch.manual_seed(options.seed)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=options.seed),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS),
    )
    study.optimize(objective)  # the objective stops it: Optuna's timeout counts pauses
    found = {
        "task": options.task, "seed": options.seed, "minutes": options.minutes, "curve": curve,
        "trials": len(study.trials), "machine": here, "seconds": clock.now(),
        "versions": {"torch": torch.__version__, "optuna": optuna.__version__, "timm": timm.__version__},
    }  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
