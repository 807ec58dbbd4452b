"""Fine-tuning from the profile's answer: which rate and which norm policy keep the solved head alive.

    python benchmarks/defaults.py [--datasets digits ...] [--seeds 3]

Best and last validation accuracy over 9 epochs of each variant. The test split is not looked at.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.registry import get_source
from automl_transfer.training.profile import Profiler, strategy_of
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import build_plan

SOURCE, EPOCHS, CPU = "efficientnet-lite0", 9, torch.device("cpu")
DATASETS = ("digits", "digits?per_class=20", "mnist5k?per_class=20", "textures?patch=16")
TUNED = {"tune_mode": "suffix", "freeze_depth": 0}
VARIANTS = {
    "profile, nothing trained": {},
    "rate 1e-4, norms frozen": {**TUNED, "learning_rate": 1e-4},
    "rate 3e-4, norms frozen": {**TUNED, "learning_rate": 3e-4},
    "rate 1e-3, norms frozen": {**TUNED, "learning_rate": 1e-3},
    "rate 1e-4, norms train": {**TUNED, "learning_rate": 1e-4, "norm_policy": "train"},
    "rate 1e-3, norms train, head x10": {
        **TUNED, "learning_rate": 1e-3, "norm_policy": "train", "head_lr_mult": 10.0,
    },
    "whole network, half frozen, rate 1e-4": {
        **TUNED, "truncation": 8, "pool": 1, "freeze_depth": 4, "learning_rate": 1e-4,
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--datasets", nargs="+", default=DATASETS)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    backbone = get_source(SOURCE).load(1)
    for dataset in options.datasets:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
        for seed in range(options.seeds):
            task = load_task(TaskSpec(dataset=dataset, seed=seed))
            best = strategy_of(Profiler(backbone, SOURCE, task, device=CPU).whole())
            for name, changes in VARIANTS.items():
                strategy = Strategy.model_validate({**best.model_dump(), **changes}).canonical()
                plan = build_plan(strategy, backbone, task, seed=seed, device=CPU)
                run = TrainingRun(plan, task, max_epochs=EPOCHS, seed=seed, device=CPU)
                curve = [result.accuracy for result in run.epochs()]
                found[name].append((max(curve), curve[-1]))
        for name, pairs in found.items():
            best_of, last = zip(*pairs, strict=True)
            print(
                f"{dataset:22} {name:38} best {statistics.median(best_of):.3f} "
                f"({min(best_of):.3f}-{max(best_of):.3f})  last {statistics.median(last):.3f} n={len(pairs)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
