"""How far the training loop and the profile's pass are from bare loops that a person would write.

    python benchmarks/limits.py [--rows step pass fused loop rates] [--pixels 32 128] [--pairs 7] [--rounds 3]

step    an epoch of `TrainingRun` on cached activations (half of the network frozen, cache on disk), against
        a loop over a tensor of the same activations: same suffix, same optimiser, batches of 32
pass    the profile's pass, with pooling at every cut, against the network's forward pass over the same
        images, normalised beforehand, in the same batches
fused   the same, against a forward pass of the network whose norms were folded beforehand: what pooling, the
        folding and the cache's key cost
loop    an epoch of `TrainingRun` with nothing frozen, against a loop over normalised images in memory
rates   what `training/cache_plan.py` assumes: multiply-adds a second of frozen groups, bytes a second from a
        mapped file and through its checksums

Ours and bare run in turns. Each pair has a process of its own: what its places in memory cost or save stays
with a process as long as it lives (a step takes 60 to 80 ms at 32 pixels, by process). The ratio is the
median over pairs, of each the median over rounds. Ours pays for everything a run does: reading, the schedule,
checks of the loss, the copy that an epoch can go back to, judging (few) validation images, keeping the best
weights.
The bare loops have a constant rate and judge nothing. Images are real digits (mnist5k), resized.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import statistics
import tempfile
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from interleaved import Pair, in_turns, machine, summary
from torch import Tensor, nn

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.fuse import fused
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.training.activation_cache import DiskCache, MemoryCache
from automl_transfer.training.cache_plan import multiply_adds
from automl_transfer.training.feature_bank import build_bank, folded_groups
from automl_transfer.training.optimizers import make_optimizer
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import build_plan
from automl_transfer.transfer.features import batch_for, pixel_elements
from automl_transfer.transfer.pixels import Normaliser

SOURCE, CPU, BATCH = "efficientnet-lite0", torch.device("cpu"), 32
IMAGES = {
    "step": {32: 960, 128: 320},
    "pass": {32: 2000, 128: 320},
    "fused": {32: 2000, 128: 320},
    "loop": {32: 960, 128: 320},
}
"""Training images of a round, by resolution; others get those of 128."""
NAMES = {"step": "cached step", "pass": "profile pass", "loop": "uncached loop"}
ROWS = ("step", "pass", "fused", "loop", "rates")
GOALS = {"step": 1.05, "pass": 1.10, "fused": float("nan"), "loop": 1.05}


def task_at(pixels: int, images: int) -> LoadedTask:
    spec = TaskSpec(dataset="mnist5k?per_class=100" if images <= 600 else "mnist5k", resolution=pixels)
    task = load_task(spec)
    rows = {"train": task.indices["train"][:: max(1, len(task.indices["train"]) // images)][:images]}
    rows["validation"] = task.indices["validation"][:2]
    return dataclasses.replace(task, indices={**task.indices, **rows})


def training(backbone: Backbone, task: LoadedTask, frozen: int, rounds: int) -> tuple[Pair, int]:
    """An epoch of a run against a bare epoch; the pair, and steps an epoch."""
    strategy = Strategy.model_validate(
        {"source": SOURCE, "tune_mode": "suffix", "freeze_depth": frozen, "head_init": "zero", "batch": BATCH}
    )
    plan, other = (build_plan(strategy, backbone, task, seed=0, device=CPU) for _ in range(2))
    rows = torch.from_numpy(task.indices["train"])
    with torch.no_grad():
        pixels = torch.from_numpy(np.array(task.images[rows.numpy()]))
        x: Tensor = other.normaliser(CPU)(pixels)
        for group in other.model.groups[: other.frozen_prefix]:
            x = torch.cat([group(part) for part in x.split(BATCH)])
        x = x.contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(task.labels[rows.numpy()])
    suffix = nn.Sequential(
        *other.model.groups[other.frozen_prefix :],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        other.model.head.linear,
    )
    optimizer = make_optimizer(strategy, other.parameter_groups, CPU)

    def bare() -> None:
        other.model.train()
        for some in torch.randperm(len(x)).split(BATCH):
            nn.functional.cross_entropy(suffix(x[some]), y[some]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()

    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(
            plan, task, max_epochs=rounds + 1, seed=0, device=CPU, cache=DiskCache(Path(folder), 10**10)
        )
        assert run.conditions()["stored"] == (frozen > 0)  # builds the entry, before the clock starts
        epochs = run.epochs()
        pair = in_turns(lambda: next(epochs), bare, rounds)
    return pair, -(-len(x) // BATCH)


def forward(backbone: Backbone, task: LoadedTask, folded: bool, rounds: int) -> Pair:
    """The profile's pass against a bare one."""
    normalise = Normaliser(backbone.mean[:1], backbone.std[:1], CPU)
    rows = task.indices["train"]
    x = normalise(torch.from_numpy(np.array(task.images[rows])))
    batch = batch_for(pixel_elements(task.images.shape[1:3]), CPU)

    groups = fused(backbone.groups, x[:1]) if folded else list(backbone.groups)

    @torch.no_grad()
    def bare() -> None:
        for some in x.split(batch):
            for group in groups:
                some = group(some)

    def ours() -> None:
        build_bank(
            backbone, task, normalise, rows, 1.0, MemoryCache(0),
            lambda: folded_groups(backbone, task, normalise, rows),
        )  # fmt: skip

    return in_turns(ours, bare, rounds)


def rates(backbone: Backbone, rounds: int) -> None:
    """The planner's constants."""
    for pixels in (32, 128):
        x = torch.randn(batch_for(pixel_elements((pixels, pixels)), CPU), 1, pixels, pixels)
        x = x.contiguous(memory_format=torch.channels_last)
        taken = []
        folded = nn.Sequential(*fused(backbone.groups, x[:1]))
        with torch.no_grad():
            with multiply_adds(folded) as counted:
                folded(x)
            each = counted[0]
            for _ in range(5 * rounds):
                began = time.perf_counter()
                folded(x)
                taken.append(time.perf_counter() - began)
        found = [each / seconds for seconds in taken]
        print(f"rates  {pixels} px  {each / len(x) / 1e6:6.1f} million multiply-adds an image, "
              f"{statistics.median(found):.2e} a second ({min(found):.2e} to {max(found):.2e})  n={len(found)}")  # fmt: skip
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for width in (640, 10_240):
            shape = (2**28 // 4 // width, width)
            stored = np.lib.format.open_memmap(Path(folder) / "values.npy", "w+", np.float32, shape)
            stored[:] = 1.0
            stored.flush()
            values = np.load(Path(folder) / "values.npy", mmap_mode="r")

            def pick(values: np.ndarray = values) -> None:
                order = rng.permutation(len(values))
                for start in range(0, len(order), BATCH):
                    values[order[start : start + BATCH]]

            what = f"rows of {4 * width} bytes picked from a mapped file, {BATCH} at a time"
            check = partial(zlib.crc32, values.data)
            for name, way in ((what, pick), ("checksums of a mapped file", check)):
                found = []
                for _ in range(rounds + 1):
                    began = time.perf_counter()
                    way()
                    found.append(values.nbytes / (time.perf_counter() - began))
                print(f"rates  {name}: {statistics.median(found[1:]):.2e} bytes a second "
                      f"({min(found[1:]):.2e} to {max(found[1:]):.2e})  n={rounds}")  # fmt: skip


def source() -> Backbone:
    return get_source(SOURCE).load(1).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def measured(row: str, pixels: int, rounds: int) -> tuple[Pair, int]:
    """A pair, and the units that its seconds are for."""
    task = task_at(pixels, IMAGES[row].get(pixels, IMAGES[row][128]))
    if row in ("pass", "fused"):
        return forward(source(), task, row == "fused", rounds), len(task.indices["train"])
    return training(source(), task, 4 if row == "step" else 0, rounds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=ROWS,
    )
    parser.add_argument("--pixels", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3, help="of each pair")
    options = parser.parse_args()
    print(f"{machine()}; {SOURCE}, AdamW, batches of {BATCH}", flush=True)
    print(
        "row    pixels  images        ours      bare   ratio, median (lowest to highest); ms a step or an image"
    )
    worst: dict[str, float] = {}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as processes:
        for row in (row for row in options.rows if row != "rates"):
            for pixels in options.pixels:
                cells = [
                    processes.submit(measured, row, pixels, options.rounds) for _ in range(options.pairs)
                ]
                pairs, units = zip(*(cell.result() for cell in cells), strict=True)
                ratio, text = summary(pairs, units[0])
                images = IMAGES[row].get(pixels, IMAGES[row][128])
                print(f"{row:6} {pixels:6} {images:7}  {text}  goal {GOALS[row]:.2f}", flush=True)
                worst[row] = max(worst.get(row, 0.0), ratio)
    if "rates" in options.rows:
        rates(source(), options.rounds)
    print("LIMITS " + ", ".join(f"{NAMES[row]} {worst[row]:.3f}x" for row in NAMES if row in worst))


if __name__ == "__main__":
    main()
