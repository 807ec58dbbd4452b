"""What a profile takes, and how well it foretells, over the number of classes.

    python benchmarks/classes.py [--classes 10 100 200 600] [--each 30]

Classes are random patterns under noise at 32 pixels, so that any number of them can be made; 5 images of each
validate. Prints the images that were passed, seconds of the look and of the record after it, the leave-one-out
accuracy that is told, and that of the head, solved on all training images, on validation.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from automl_transfer.data.in_memory import task_in_memory
from automl_transfer.data.task import LoadedTask
from automl_transfer.models.registry import get_source
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.profile import Profiler, strategy_of
from automl_transfer.transfer.build import build_plan

SOURCE, CPU = "efficientnet-lite0", torch.device("cpu")
VALIDATED = 5


def patterns(classes: int, each: int) -> LoadedTask:
    """So many classes of 8x8 patterns, blown up, each image with noise of both sizes."""
    random = np.random.default_rng(0)
    own = np.repeat(random.normal(size=(classes, 8, 8)), each + VALIDATED, axis=0)
    coarse = own + 1.5 * random.normal(size=own.shape)
    images = 128.0 + 30.0 * coarse.repeat(4, axis=1).repeat(4, axis=2)
    images += 20.0 * random.normal(size=images.shape)
    pixels = np.clip(images, 0, 255).astype(np.uint8)[..., None]
    labels = np.repeat(np.arange(classes), each + VALIDATED)
    names = tuple(f"class {number}" for number in range(classes))
    share = VALIDATED / (each + VALIDATED)
    return task_in_memory(pixels, labels, names, held_out=share, seed=0).loaded


def main() -> None:
    """Print a row for each number of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 200, 600])
    parser.add_argument("--each", type=int, default=30, help="training images a class")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    backbone = get_source(SOURCE).load(1)
    print("classes  passed  look, s  record, s  told  validation")
    for classes in asked.classes:
        task = patterns(classes, asked.each)
        start = time.perf_counter()
        profiler = Profiler(backbone, SOURCE, task, device=CPU)
        profiler.look(1.0)
        looked = time.perf_counter()
        profile = profiler.record()
        ended = time.perf_counter()
        plan = build_plan(strategy_of(profile), backbone, task, seed=0, device=CPU)
        rows = task.indices["validation"]
        logits = predict_logits(plan.model, task.images, rows, plan.normaliser(CPU))
        found = scores(logits, task.labels[rows], classes).accuracy
        assert profile.best is not None
        print(
            f"{classes:7} {profile.images:7} {looked - start:8.1f} {ended - looked:10.1f} "
            f"{profile.best.loo_accuracy:5.3f} {found:11.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
