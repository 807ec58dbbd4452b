"""What scores of sources cost beside the forward pass whose features they read: all cuts, CPU seconds, one thread.

    python benchmarks/scoring.py [--images 5000] [--pixels 32] [--rounds 3] [--sources NAME ...]

pass    the profile's forward pass over the images, with pooling at every cut, norms folded
scores  every score at every cut, pooled to a number a channel, and the distance: what the profile adds to the pass,
        leave-one-out of single cuts included

Pass and scores alternate in one process; times are of the process, so that other work on the machine counts less.
The ratio is (pass + scores) / pass, the median over rounds; over all sources by the sums. A network without weights
(`scratch/...`) costs what one with weights does. Images are real digits (mnist5k: all splits train here).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import numpy as np
import torch

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.normalisation import chosen_constants
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.models.registry import get_source
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.feature_bank import build_bank, folded_groups
from automl_transfer.training.profile import Profiler
from automl_transfer.transfer.pixels import Normaliser

SOURCES = (
    "efficientnet-lite0",
    "efficientnet-lite1",
    "efficientnet-lite2",
    "scratch/timm/mobilenetv2_100",
    "scratch/timm/resnet18",
)
CPU = torch.device("cpu")


def task_of(images: int, pixels: int) -> LoadedTask:
    """So many images that all train."""
    task = load_task(TaskSpec(dataset="mnist5k", resolution=pixels))
    rows = np.sort(np.concatenate([task.indices[split] for split in ("train", "validation", "test")]))[
        :images
    ]
    return dataclasses.replace(task, indices={**task.indices, "train": rows})


def once(source: str, task: LoadedTask) -> tuple[float, float]:
    """CPU seconds of the pass alone, and of what scores add."""
    rows = task.indices["train"]
    backbone = get_source(source).load(task.task.channels)
    mean, std = chosen_constants("source", task.task, backbone.mean, backbone.std) or (None, None)
    normalise = Normaliser(mean, std, CPU)
    model = backbone.to(CPU, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    began = time.process_time()
    build_bank(
        model, task, normalise, rows, 1.0, MemoryCache(0), lambda: folded_groups(model, task, normalise, rows)
    )
    alone = time.process_time() - began
    profiler = Profiler(
        backbone, source, task, device=CPU, rows=rows, fixed={"resolution_scale": 1.0}, cache=MemoryCache(0)
    )
    began = time.process_time()
    profiler.look(1.0)
    singles = max(0.0, time.process_time() - began - alone)
    record = profiler.record()  # heads that read several cuts: no score
    began = time.process_time()
    found = profiler.compared(record)
    assert any(cut.scores for cut in found.cuts)
    return alone, singles + time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--pixels", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sources", nargs="+", default=list(SOURCES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    task = task_of(asked.images, asked.pixels)
    found = {source: [once(source, task) for _ in range(asked.rounds)] for source in asked.sources}
    print(f"{len(task.indices['train']):,} images of {asked.pixels} pixels, {asked.rounds} rounds")
    for source, rounds in found.items():
        alone, scores = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratios = [(a + s) / a for a, s in rounds]
        print(f"{source}: pass {alone:.1f} s, scores {scores:.1f} s, {statistics.median(ratios):.2f} x "
              f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    sums = [[sum(found[source][n][part] for source in found) for part in (0, 1)] for n in range(asked.rounds)]
    ratios = [(a + s) / a for a, s in sums]
    print(f"SCORES all sources: {statistics.median(ratios):.2f} x the passes alone "
          f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
