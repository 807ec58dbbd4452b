"""Several devices, 16 bits and compiled steps, each beside the same training without it.

    python benchmarks/devices.py [--device cpu|cuda] [--devices 2] [--pixels 64] [--rounds 5] [--only ddp ...]

What trains is the whole of EfficientNet-Lite0 (norms in evaluation mode, AdamW; 32 images a step, on several GPUs
for each), the images are digits. Ways take turns, an epoch each, in the same processes; those of one process run
in the first, while the others wait. On a CPU it then has as many threads as all of them have together. A first
epoch warms up. "bare" is a hand-written loop over the same network, images and optimiser, "bare ddp" the same
with torch's DistributedDataParallel.

Beside images a second stand processor seconds an image, of all processes together: on a machine that does other
work as well, they alone say what a way costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import torch
from interleaved import machine
from torch import nn

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import Precision, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.registry import get_source
from automl_transfer.training.run import TrainingRun
from automl_transfer.training.team import Team
from automl_transfer.transfer.build import build_plan
from automl_transfer.transfer.pixels import Normaliser

SOURCE = "efficientnet-lite0"
WAYS = ("bare", "ours", "bare ddp", "ddp", "fsdp", "bf16", "fp16", "compiled")
TOGETHER = ("bare ddp", "ddp", "fsdp")
RATIOS = (
    ("ours", "bare"), ("ddp", "ours"), ("bare ddp", "bare"), ("ddp", "bare ddp"), ("fsdp", "ddp"), ("bf16", "ours"),
    ("fp16", "ours"), ("compiled", "bare"),
)  # fmt: skip
PRECISION: dict[str, Precision] = {"bf16": "bf16", "fp16": "fp16"}
Way = Callable[[int], None]


def strategy(batch: int) -> Strategy:
    return Strategy(
        source=SOURCE, tune_mode="full", norm_policy="frozen", head_init="he", learning_rate=1e-4, batch=batch
    ).canonical()


def ours(task: LoadedTask, device: torch.device, batch: int, way: str, team: Team | None) -> Way:
    """Epochs of a run, without judging."""
    plan = build_plan(strategy(batch), get_source(SOURCE).load(1), task, seed=0, device=device)
    run = TrainingRun(
        plan, task, max_epochs=1000, seed=0, device=device, batch=batch, crew=team,
        precision=PRECISION.get(way, "fp32"),
    )  # fmt: skip
    return run.train_to


def bare(task: LoadedTask, device: torch.device, batch: int, way: str) -> Way:
    """The same layers and images by hand; among several processes, with torch's DistributedDataParallel."""
    plan = build_plan(strategy(batch), get_source(SOURCE).load(1), task, seed=0, device=device)
    model: nn.Module = plan.model
    rank, size = (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if way == "bare ddp" else (0, 1)
    if size > 1:
        model = nn.parallel.DistributedDataParallel(model)
    step: nn.Module = torch.compile(model) if way == "compiled" else model  # type: ignore[assignment]
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    rows, labels = task.indices["train"], torch.from_numpy(task.labels.astype(np.int64))
    normalise = Normaliser(plan.mean, plan.std, device)

    def epoch(number: int) -> None:
        order = np.random.default_rng(number).permutation(rows)
        model.train()
        plan.model.train()
        for start in range(0, len(order), batch):
            part = np.array_split(order[start : start + batch], size)[rank]
            images = normalise(torch.from_numpy(task.images[part]))
            nn.functional.cross_entropy(step(images), labels[part].to(device)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return epoch


@dataclasses.dataclass(frozen=True)
class Took:
    """An epoch: images a second, and milliseconds of processors an image."""

    rate: float
    busy: float


def processor_seconds() -> float:
    """Of this process, and of those that it waited for (compilers)."""
    taken = os.times()
    return taken.user + taken.system + taken.children_user + taken.children_system


def member(options: argparse.Namespace) -> dict[str, list[Took]]:
    """One process: what each way took in each round, and before that in the epoch that warms up."""
    rank = int(os.environ["RANK"])
    device = torch.device(f"cuda:{rank}" if options.device == "cuda" else "cpu")
    whole, parts = Team(device, os.environ["MEET"]), None
    task = load_task(TaskSpec(dataset=options.dataset, resolution=options.pixels))
    rows, step = task.indices["train"], options.batch * options.devices
    if len(rows) < step:
        raise SystemExit(f"--dataset must have at least {step} training images, got {len(rows)}")
    # Steps of one size: a compiled one is compiled for that.
    task = dataclasses.replace(task, indices={**task.indices, "train": rows[: len(rows) // step * step]})
    ways: dict[str, Way] = {}
    for way in options.only:
        if way not in TOGETHER and rank > 0:
            continue
        batch = options.batch * (options.devices if way in TOGETHER and device.type == "cuda" else 1)
        parts = Sharing(whole) if way == "fsdp" else None
        if way in ("bare", "bare ddp", "compiled"):
            ways[way] = bare(task, device, batch, way)
        else:
            ways[way] = ours(task, device, batch, way, parts or whole if way in TOGETHER else None)
    found: dict[str, list[Took]] = {way: [] for way in options.only}
    for turn in range(options.rounds + 1):
        for way in options.only if turn % 2 else reversed(options.only):
            whole.agree("")
            alone = way not in TOGETHER and device.type == "cpu"
            torch.set_num_threads(options.threads or options.devices if alone else 1)
            began, before = time.perf_counter(), processor_seconds()
            if way in ways:
                ways[way](turn + 1)
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - began
            (busy,) = whole.add([processor_seconds() - before if way in ways else 0.0])
            images = len(task.indices["train"])
            found[way].append(Took(images / seconds, 1000 * busy / images))
            if rank == 0:
                print(f"round {turn}, {way}: {found[way][-1]}", file=sys.stderr, flush=True)
    whole.agree("")
    whole.leave()
    return found


class Sharing:
    """The same crew, asked to share weights."""

    shards = True

    def __init__(self, team: Team) -> None:
        self._team = team

    def __getattr__(self, name: str) -> object:
        return getattr(self._team, name)


def spread(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dataset", default="digits?per_class=60")
    parser.add_argument("--threads", type=int, help="of ways of one process on a CPU; default: --devices")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    if "RANK" in os.environ:
        found = member(options)
        if os.environ["RANK"] == "0":
            report(options, found)
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(options.threads or options.devices),
            "WORLD_SIZE": str(options.devices),
            "MEET": f"file://{folder}/meet",
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/compiled",
        }
        started = []
        for rank in range(options.devices):
            started.append(
                subprocess.Popen([sys.executable, *sys.argv], env={**environment, "RANK": str(rank)})
            )
            running.callback(started[-1].wait)
            running.callback(started[-1].kill)
        codes = [process.wait() for process in started]
        if any(codes):
            raise SystemExit("a process failed")


def report(options: argparse.Namespace, found: dict[str, list[Took]]) -> None:
    torch.set_num_threads(options.threads or options.devices)
    print(f"{machine()}; {SOURCE}, {options.pixels} pixels, {options.devices} of {options.device}")
    later = {way: each[1:] for way, each in found.items()}
    for way, each in later.items():
        rates, busy = spread([took.rate for took in each], 1), spread([took.busy for took in each], 1)
        print(f"{way:10} images/s {rates}; processors, ms an image {busy}")
    for way, other in RATIOS:
        if way in later and other in later:
            pairs = list(zip(later[way], later[other], strict=True))
            faster = spread([one.rate / two.rate for one, two in pairs])
            dearer = spread([one.busy / two.busy for one, two in pairs])
            print(f"{way} / {other}: images/s {faster}; processors {dearer}; n = {options.rounds}")
    if "compiled" in found and "bare" in found:
        extra = found["compiled"][0].busy - statistics.median(took.busy for took in later["compiled"])
        saved = statistics.median(took.busy for took in later["bare"]) - statistics.median(
            took.busy for took in later["compiled"]
        )
        worth = f"worth it after {extra / saved:.0f} epochs" if saved > 0 else "never worth it"
        print(
            f"compiling: the first epoch took {extra:.0f} ms an image more, later ones {saved:.2f} less: {worth}"
        )


if __name__ == "__main__":
    main()
