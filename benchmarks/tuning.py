"""Does training on from the profile's answer gain? Validation accuracy of each way, one line each.

    python benchmarks/tuning.py [TASK ...] [--seeds 1]

On the race's splits: the solved head; the same solved on views, as a search tries it; trained on as a search
does (`search.first.TUNED_ON`), and by the usual rules (the head at the body's rate); the best of 9 epochs and
the first. The test split is not looked at.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(1, str(Path(__file__).resolve().parent / "race"))
from here import machine
from tasks import TASKS, load

from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.registry import get_source
from automl_transfer.search.first import TUNED_ON, VIEWED_PENALTY
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.making import make_run
from automl_transfer.training.profile import Profiler, strategy_of

SOURCE, CPU, EPOCHS, VIEWS = "efficientnet-lite0", torch.device("cpu"), 9, 8


def ways(solved: Strategy) -> dict[str, dict[str, Any]]:
    """What is changed of the profile's strategy."""
    tuned = {"tune_mode": "suffix", **TUNED_ON}
    viewed = {"augmentation": "affine", "views": VIEWS}
    return {
        "solved": {},
        f"solved on {VIEWS} views": {**viewed, "ridge_lambda": VIEWED_PENALTY * solved.ridge_lambda},
        "tuned": tuned,
        "tuned, rate x3": {**tuned, "learning_rate": 3e-4},
        "tuned, head at the body's rate, x3": {**tuned, "learning_rate": 3e-4, "head_lr_mult": 1.0},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    print(machine())
    for name in options.tasks:
        for seed in range(options.seeds):
            task = load(name, seed)
            backbone, cache = get_source(SOURCE).load(task.task.channels), MemoryCache(2 << 30)
            solved = strategy_of(Profiler(backbone, SOURCE, task, device=CPU, seed=seed).whole())
            print(f"{name} seed {seed}, {len(task.indices['validation'])} images: {solved.describe()}")
            for way, changes in ways(solved).items():
                strategy = Strategy.model_validate({**solved.model_dump(), **changes}).canonical()
                start = time.perf_counter()
                run = make_run(
                    strategy, task, backbone, horizon=Horizon(EPOCHS), seed=seed, device=CPU, cache=cache
                )
                results = [result.accuracy for result in run.epochs()]
                print(f"    {way:36} best {max(results):.4f}, first epoch {results[0]:.4f}, "
                      f"{time.perf_counter() - start:.1f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
