"""What each way to transfer gains over plain fine-tuning, seed by seed: modes, regularisers, preparations, starts.

    python benchmarks/gains.py --tasks digits textures --seeds 5
    python benchmarks/gains.py --tasks signs --photos FOLDER --seeds 5 --table
    python benchmarks/gains.py --device cuda --jobs 15 ...     many cells at once on an accelerator

Plain fine-tuning is the whole network under a fresh head, as a search tries it first. A cell is one training to
its last step and the accuracy and cross-entropy on test images. A seed draws the split, the training images of
each class, the head and the order, and these are the same for every method: gains are differences of pairs. Cells
are lines of a JSON-lines file (by default `gains.jsonl` beside this one, with what was recorded); those that are
there are not run again, so that the command may be stopped and started again. The table has 95% intervals of
Student's t.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import math
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

sys.path.insert(1, str(Path(__file__).resolve().parent / "race"))
from here import machine
from tasks import SPLITS

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import ConfigurationError
from automl_transfer.models.registry import get_source
from automl_transfer.search.answers import FINETUNED
from automl_transfer.training.device import resolve_device
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.making import make_run

SOURCE = "efficientnet-lite0"
Key = tuple[str, int, str]
TASKS: dict[str, tuple[str, int, int]] = {
    "digits": ("digits", 32, 20), "textures": ("textures?patch=16", 32, 20), "signs": ("", 48, 10),
    "tiles": ("", 48, 20), "clothing": ("", 64, 20),
}  # fmt: skip
"""Dataset (empty for a folder of photographs), pixels, and training images a class."""
MOST_TEST = 400
EPOCHS = 8
"""Phases take turns within a training; it is judged at its end only."""
SOLVED = {"head_init": "ridge", "head_lr_mult": 0.01}
HALF = {"transfer_depth": 4}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("", {}),
    # what moves
    "head": ("plain", {"tune_mode": "head"}),
    "upper half": ("plain", {"tune_mode": "suffix", "freeze_depth": 4, "norm_policy": "frozen"}),
    "norms frozen": ("plain", {"norm_policy": "frozen"}),
    "surgical, first": ("plain", {"tune_mode": "surgical", "block": "first"}),
    "surgical, middle": ("plain", {"tune_mode": "surgical", "block": "middle"}),
    "surgical, last": ("plain", {"tune_mode": "surgical", "block": "last"}),
    "convolutions": ("plain", {"tune_mode": "body"}),
    "norm": ("plain", {"tune_mode": "norm"}),
    "bias": ("plain", {"tune_mode": "bias"}),
    "lora 8": ("plain", {"tune_mode": "lora", "rank": 8}),
    "adapter": ("plain", {"tune_mode": "adapter"}),
    # when
    "lp_ft": ("plain", {"phases": "lp_ft"}),
    "gradual": ("plain", {"phases": "gradual"}),
    "freezing": ("plain", {"phases": "freezing"}),
    # starts
    "solved head": ("plain", SOLVED),
    "denoise": ("plain", {"prepare": "denoise"}),
    "masked": ("plain", {"prepare": "masked"}),
    "shrink .8": ("plain", {"shrink": 0.8, "perturb": 1e-3}),
    "source_prune .2": ("plain", {"source_prune": 0.2}),
    "half, He": ("plain", HALF),
    "half, Xavier": ("half, He", {**HALF, "rest_init": "xavier_uniform"}),
    "half, orthogonal": ("half, He", {**HALF, "rest_init": "orthogonal"}),
    "half, mean and variance": ("half, He", {**HALF, "rest_init": "mean_var"}),
    # regularisers and averages
    "l2sp .01": ("plain", {"anchor": "l2sp", "anchor_weight": 0.01}),
    "delta .01": ("plain", {"anchor": "delta", "anchor_weight": 0.01}),
    "bss .001": ("plain", {"anchor": "bss", "anchor_weight": 0.001}),
    "co_tuning .01": ("plain", {"anchor": "co_tuning", "anchor_weight": 0.01}),
    "stoch_norm .5": ("plain", {"stoch_norm": 0.5}),
    "dropout .2": ("plain", {"dropout": 0.2}),
    "drop_path .1": ("plain", {"drop_path": 0.1}),
    "ema .99": ("plain", {"ema": 0.99}),
    "wise_alpha .75": ("solved head", {**SOLVED, "wise_alpha": 0.75}),
    # images
    "no crops": ("plain", {"crop": 1.0}),
    "trivial": ("plain", {"distort": "trivial"}),
    "erasing .25": ("plain", {"erasing": 0.25}),
    "mixup .2": ("plain", {"mix": "mixup", "mix_alpha": 0.2}),
    "cutmix 1": ("plain", {"mix": "cutmix", "mix_alpha": 1.0}),
}
"""The method it is compared with, and what is changed of plain fine-tuning."""


@functools.lru_cache(maxsize=2)
def load(name: str, seed: int, photos: Path | None) -> LoadedTask:
    """A task with few training images and at most `MOST_TEST` test images."""
    dataset, resolution, per_class = TASKS[name]
    if not dataset:
        assert photos is not None  # `checked` asks for it
        dataset = str(photos / name)
    spec = {
        "dataset": dataset,
        "resolution": resolution,
        "splits": SPLITS,
        "seed": seed,
        "on_bad_image": "skip",
    }
    return few(load_task(TaskSpec.model_validate(spec)), seed, per_class, MOST_TEST)


def few(task: LoadedTask, seed: int, per_class: int, tested: int) -> LoadedTask:
    """The task with few training images a class, and so many of its test images."""
    generator = np.random.default_rng(seed)
    train, test = (generator.permutation(task.indices[split]) for split in ("train", "test"))
    some = [train[task.labels[train] == label][:per_class] for label in range(len(task.task.classes))]
    chosen = {"train": np.sort(np.concatenate(some)), "test": np.sort(test[:tested])}
    return dataclasses.replace(task, indices={**task.indices, **chosen})


def trained(key: Key, steps: int, device: str, photos: Path | None) -> dict[str, Any]:
    """One cell."""
    name, seed, method = key
    task, where = load(name, seed, photos), torch.device(device)
    strategy = Strategy.model_validate({**FINETUNED, "source": SOURCE, **METHODS[method][1]}).canonical()
    backbone = get_source(SOURCE).load(task.task.channels)
    began = time.perf_counter()
    horizon = Horizon.of(len(task.indices["train"]), EPOCHS, steps)
    run = make_run(strategy, task, backbone, horizon=horizon, seed=seed, device=where)
    run.train_to(horizon.epochs)
    run.load_shown()
    seconds = time.perf_counter() - began
    rows = task.indices["test"]
    logits = predict_logits(run.model, task.images, rows, run.plan.normaliser(where), where)
    found = scores(logits, task.labels[rows], len(task.task.classes))
    return {
        "task": name, "seed": seed, "method": method, "steps": steps, "device": run.conditions()["device"],
        "accuracy": found.accuracy, "nll": found.nll, "seconds": round(seconds, 1),
    }  # fmt: skip


def read(path: Path, steps: int) -> dict[Key, dict[str, Any]]:
    """The cells of so many steps that are there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    cells = [json.loads(line) for line in lines]
    return {(cell["task"], cell["seed"], cell["method"]): cell for cell in cells if cell["steps"] == steps}


def table(cells: dict[Key, dict[str, Any]], tasks: list[str]) -> None:
    """Gains in points of accuracy, then in nats, with intervals; in bold those that zero is not in."""
    for key, unit, what in (
        ("accuracy", 100.0, "points of test accuracy"),
        ("nll", 1.0, "cross-entropy, nats"),
    ):
        print(f"\n| {what} | {' | '.join(tasks)} |\n|---|{'---|' * len(tasks)}")
        for method, (base, _) in METHODS.items():
            row = [method if base in ("", "plain") else f"{method} (over {base})"]
            for task in tasks:
                seeds = sorted(
                    s for t, s, m in cells if t == task and m == method and (t, s, base or m) in cells
                )
                mine = [cells[task, seed, method][key] for seed in seeds]
                if not base:
                    row.append(f"{statistics.mean(mine):.3f}, n = {len(seeds)}" if seeds else "")
                    continue
                others = (cells[task, seed, base][key] for seed in seeds)
                row.append(interval([unit * (new - old) for new, old in zip(mine, others, strict=True)]))
            if any(row[1:]):
                print(f"| {' | '.join(row)} |")


def interval(values: list[float]) -> str:
    """Mean and 95% interval."""
    if len(values) < 2:
        return f"{values[0]:+.2f}" if values else ""
    mean = statistics.mean(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    said = f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"
    return f"**{said}**" if abs(mean) > half else said


def main() -> None:
    """Run the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["digits", "textures"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200, help="of a training")
    parser.add_argument("--device", default="cpu", help="as torch names it")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no cell later than that")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--photos", type=Path, help="a folder that holds signs, tiles or clothing")
    parser.add_argument("--cells", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    checked(parser, options)
    print(machine())
    if not options.table:
        record(options)
    table(read(options.cells, options.steps), options.tasks)


def checked(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what cannot be run, before anything is."""
    for name in ("seeds", "steps", "jobs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    for name in () if options.table else options.tasks:
        if not TASKS[name][0] and (options.photos is None or not (options.photos / name).is_dir()):
            parser.error(f"--photos must be the folder that holds {name}/, got {options.photos}")
    try:
        options.device = str(resolve_device(options.device))
        read(options.cells, options.steps)
    except ConfigurationError as error:
        parser.error(f"--device: {error}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(
            f"--cells must be a file of cells, one JSON object a line, as this command writes them, got "
            f"{options.cells} ({error!r}): name another file"
        )


def record(options: argparse.Namespace) -> None:
    """Run the cells that are missing, seed by seed: a run that is stopped leaves whole seeds."""
    there, until = read(options.cells, options.steps), time.monotonic() + 60 * options.minutes
    every = itertools.product(range(options.first_seed, options.seeds), options.tasks, options.methods)
    missing = [(name, seed, method) for seed, name, method in every if (name, seed, method) not in there]
    together = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, together, torch.set_num_threads, (1,)) as pool:
        waiting, running = iter(missing), set()
        while True:
            room = options.jobs - len(running) if time.monotonic() < until else 0
            for key in itertools.islice(waiting, room):
                running.add(pool.submit(trained, key, options.steps, options.device, options.photos))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                cell = each.result()
                with options.cells.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(cell) + "\n")
                print(cell, flush=True)


if __name__ == "__main__":
    main()
