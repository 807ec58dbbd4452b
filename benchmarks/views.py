"""What fixed augmented views give a closed-form head where images are few.

    python benchmarks/views.py --seeds 4

For each task of the race with 20 images a class and each seed: the profile's best strategy as it is, and
with views; accuracy and cross-entropy on the test split (40% of the images), and the seconds the head took.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "race"))
from here import machine
from tasks import load

from automl_transfer.models.registry import get_source
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.profile import Profiler, strategy_of
from automl_transfer.transfer.build import build_plan

SOURCE, CPU = "efficientnet-lite0", torch.device("cpu")


def main() -> None:
    """Print one line a run, then the mean gain over seeds for each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["mnist5k-20", "digits-20"])
    parser.add_argument("--augmentation", default="affine")
    parser.add_argument("--views", nargs="+", type=int, default=[8])
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    print(machine())
    for name in arguments.tasks:
        found: dict[int, list[tuple[float, float]]] = {}
        for seed in range(arguments.seeds):
            task = load(name, seed)
            backbone = get_source(SOURCE).load(task.task.channels)
            best = strategy_of(Profiler(backbone, SOURCE, task, device=CPU, seed=seed).whole())
            for views in (1, *arguments.views):
                changes = {"augmentation": arguments.augmentation, "views": views} if views > 1 else {}
                start = time.perf_counter()
                plan = build_plan(best.model_copy(update=changes), backbone, task, seed=seed, device=CPU)
                seconds = time.perf_counter() - start
                rows = task.indices["test"]
                logits = predict_logits(plan.model, task.images, rows, plan.normaliser(CPU))
                test = scores(logits, task.labels[rows], len(task.task.classes))
                found.setdefault(views, []).append((test.accuracy, test.nll))
                print(
                    f"{name} seed {seed} views {views:2d}: {test.accuracy:.4f}, nll {test.nll:.3f}, "
                    f"head in {seconds:.1f} s",
                    flush=True,
                )
        for views in arguments.views:
            pairs = list(zip(found[views], found[1], strict=True))
            gains, nlls = ([new[k] - old[k] for new, old in pairs] for k in (0, 1))
            print(
                f"{name} views {views}: accuracy {100 * statistics.mean(gains):+.2f} points "
                f"({100 * min(gains):+.2f} to {100 * max(gains):+.2f}), nll {statistics.mean(nlls):+.3f}, "
                f"n={len(gains)}"
            )


if __name__ == "__main__":
    main()
