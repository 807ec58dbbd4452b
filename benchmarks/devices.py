"""Several devices, 16 bits and compiled steps, each beside the same training without it.

    python benchmarks/devices.py [--device cpu|cuda] [--devices 2] [--pixels 64] [--rounds 5] [--only ddp ...]

What trains is the whole of EfficientNet-Lite0 (norms in evaluation mode, AdamW, 32 images a step and device of
`cuda`, 32 a step on a CPU), the images are digits. Ways take turns, each in processes of its own; a round's ratio
is of images a second, way beside reference. On a CPU one process has as many threads as all members together.
"bare" is a hand-written loop over the same network, images and optimiser.
"""

from __future__ import annotations

import argparse
import json
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

SOURCE, EPOCHS = "efficientnet-lite0", 3
WAYS = ("bare", "ours", "bare ddp", "ddp", "fsdp", "bf16", "fp16", "compiled")
TOGETHER = ("bare ddp", "ddp", "fsdp")
RATIOS = (
    ("ours", "bare"), ("ddp", "ours"), ("bare ddp", "bare"), ("ddp", "bare ddp"), ("fsdp", "ddp"), ("bf16", "ours"),
    ("fp16", "ours"), ("compiled", "bare"),
)  # fmt: skip


def strategy(batch: int) -> Strategy:
    return Strategy(
        source=SOURCE, tune_mode="full", norm_policy="frozen", head_init="he", learning_rate=1e-4, batch=batch
    ).canonical()


def ours(task: LoadedTask, device: torch.device, batch: int, precision: Precision, team: Team | None) -> Way:
    """Epochs of a run, without judging."""
    plan = build_plan(strategy(batch), get_source(SOURCE).load(1), task, seed=0, device=device)
    run = TrainingRun(
        plan, task, max_epochs=EPOCHS, seed=0, device=device, batch=batch, crew=team, precision=precision
    )
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
        for start in range(0, len(order) - batch + 1, batch):
            part = np.array_split(order[start : start + batch], size)[rank]
            images = normalise(torch.from_numpy(task.images[part]))
            nn.functional.cross_entropy(step(images), labels[part].to(device)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return epoch


Way = Callable[[int], None]


def member(options: argparse.Namespace) -> None:
    """One process of a way: a first epoch, which compiles and warms up, and then the rest, timed."""
    way, rank = options.way, int(os.environ["RANK"])
    several = way in TOGETHER
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    device = torch.device(f"cuda:{rank}" if options.device == "cuda" else "cpu")
    team = Team(device, os.environ["MEET"], shards=way == "fsdp") if several else None
    batch = options.batch * (options.devices if several and device.type == "cuda" else 1)
    task = load_task(TaskSpec(dataset=options.dataset, resolution=options.pixels))
    if way in ("bare", "bare ddp", "compiled"):
        epoch = bare(task, device, batch, way)
    else:
        epoch = ours(task, device, batch, way if way in ("bf16", "fp16") else "fp32", team)

    def timed(number: int) -> float:
        began = time.perf_counter()
        epoch(number)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    first, *rest = [timed(number) for number in range(1, EPOCHS + 1)]
    images = len(task.indices["train"])
    if way in ("bare", "bare ddp", "compiled"):
        images -= images % batch
    if rank == 0:
        print(json.dumps({"rate": images * len(rest) / sum(rest), "first": first, "rest": min(rest)}))
    if team is not None:
        team.leave()


def measured(options: argparse.Namespace, way: str) -> dict[str, float]:
    """What a way's first process found."""
    members = options.devices if way in TOGETHER else 1
    line = [sys.executable, __file__, "--way", way, *options.given]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(options.devices // members if options.device == "cpu" else 1),
            "WORLD_SIZE": str(members),
            "MEET": f"file://{folder}/meet",
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/compiled",
        }
        started = []
        for rank in range(members):
            started.append(
                subprocess.Popen(
                    line, env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True
                )
            )
            running.callback(started[-1].kill)
        said = [process.communicate()[0] for process in started]
        if any(process.returncode for process in started):
            raise SystemExit(f"{way} failed")
    found: dict[str, float] = json.loads(said[0].splitlines()[-1])
    return found


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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.given = [
        "--device", options.device, "--devices", str(options.devices), "--pixels", str(options.pixels),
        "--batch", str(options.batch), "--dataset", options.dataset,
    ]  # fmt: skip
    if options.way:
        member(options)
        return
    print(
        f"{machine()}; {SOURCE}, {options.pixels} pixels, {options.devices} of {options.device}", flush=True
    )
    found: dict[str, list[dict[str, float]]] = {way: [] for way in options.only}
    for turn in range(options.rounds):
        for way in options.only if turn % 2 else reversed(options.only):
            found[way].append(measured(options, way))
            print(f"round {turn + 1}, {way}: {found[way][-1]['rate']:.1f}", file=sys.stderr, flush=True)
    for way in options.only:
        print(f"{way:10} images/s {spread([each['rate'] for each in found[way]], 1)}", flush=True)
    for way, other in RATIOS:
        if way in found and other in found:
            pairs = zip(found[way], found[other], strict=True)
            print(f"{way} / {other}: {spread([one['rate'] / two['rate'] for one, two in pairs])}", flush=True)
    if "compiled" in found:
        print(
            f"compiling: {spread([each['first'] - each['rest'] for each in found['compiled']], 0)} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
