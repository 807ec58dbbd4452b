"""What each regulariser and each change of weights gains over plain fine-tuning, seed by seed.

    python benchmarks/gains.py --tasks digits textures --seeds 5
    python benchmarks/gains.py --tasks signs --photos FOLDER --seeds 5 --table

Plain fine-tuning is the whole network under a fresh head, as a search tries it first, without views. A cell is
one training to its last epoch and the accuracy and cross-entropy on test images. A seed draws the split, the
training images of each class, the head and the order, and these are the same for every method: gains are
differences of pairs. Cells are lines of a JSON-lines file (by default `gains.jsonl` beside this one, with what
was recorded); those that are there are not run again, so that the command may be stopped and started again. The table has 95% intervals of Student's t.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
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
from automl_transfer.models.registry import get_source
from automl_transfer.search.answers import FINETUNED
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.making import make_run

SOURCE, CPU = "efficientnet-lite0", torch.device("cpu")
TASKS: dict[str, tuple[str, int, int]] = {
    "digits": ("digits", 32, 20), "textures": ("textures?patch=16", 32, 20), "signs": ("", 48, 10),
    "tiles": ("", 48, 20), "clothing": ("", 64, 20),
}  # fmt: skip
"""Dataset (empty for a folder of photographs), pixels, and training images a class."""
MOST_TEST = 400
SOLVED = {"head_init": "ridge", "head_lr_mult": 0.01}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("", {}),
    "l2sp .01": ("plain", {"anchor": "l2sp", "anchor_weight": 0.01}),
    "l2sp 1": ("plain", {"anchor": "l2sp", "anchor_weight": 1.0}),
    "delta .01": ("plain", {"anchor": "delta", "anchor_weight": 0.01}),
    "delta .1": ("plain", {"anchor": "delta", "anchor_weight": 0.1}),
    "bss .001": ("plain", {"anchor": "bss", "anchor_weight": 0.001}),
    "co_tuning .01": ("plain", {"anchor": "co_tuning", "anchor_weight": 0.01}),
    "stoch_norm .5": ("plain", {"stoch_norm": 0.5}),
    "dropout .2": ("plain", {"dropout": 0.2}),
    "drop_path .1": ("plain", {"drop_path": 0.1}),
    "ema .99": ("plain", {"ema": 0.99}),
    "source_prune .2": ("plain", {"source_prune": 0.2}),
    "shrink .8": ("plain", {"shrink": 0.8, "perturb": 1e-3}),
    "mixup .2": ("plain", {"mix": "mixup", "mix_alpha": 0.2}),
    "cutmix 1": ("plain", {"mix": "cutmix", "mix_alpha": 1.0}),
    "lp_ft": ("plain", {"phases": "lp_ft"}),
    "gradual": ("plain", {"phases": "gradual"}),
    "solved head": ("plain", SOLVED),
    "wise_alpha .75": ("solved head", {**SOLVED, "wise_alpha": 0.75}),
    "wise_alpha .5": ("solved head", {**SOLVED, "wise_alpha": 0.5}),
}
"""The method it is compared with, and what is changed of plain fine-tuning."""


def load(name: str, seed: int, photos: Path | None) -> LoadedTask:
    """A task with few training images and at most `MOST_TEST` test images."""
    dataset, resolution, per_class = TASKS[name]
    if not dataset:
        if photos is None:
            raise SystemExit(f"--photos must name the folder that holds {name}, got none")
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


def train(task: LoadedTask, changes: dict[str, Any], seed: int, epochs: int) -> dict[str, float]:
    """One cell."""
    strategy = Strategy.model_validate({**FINETUNED, "source": SOURCE, **changes}).canonical()
    backbone = get_source(SOURCE).load(task.task.channels)
    began = time.perf_counter()
    run = make_run(strategy, task, backbone, horizon=Horizon(epochs), seed=seed, device=CPU)
    run.train_to(epochs)
    run.load_shown()
    seconds = time.perf_counter() - began
    rows = task.indices["test"]
    logits = predict_logits(run.model, task.images, rows, run.plan.normaliser(CPU))
    found = scores(logits, task.labels[rows], len(task.task.classes))
    return {"accuracy": found.accuracy, "nll": found.nll, "seconds": round(seconds, 1)}


def read(path: Path) -> dict[tuple[str, int, str], dict[str, Any]]:
    """The cells that are there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    cells = [json.loads(line) for line in lines]
    return {(cell["task"], cell["seed"], cell["method"]): cell for cell in cells}


def table(cells: dict[tuple[str, int, str], dict[str, Any]], tasks: list[str]) -> None:
    """Gains in points of accuracy and in nats, with intervals."""
    for task in tasks:
        print(f"\n| {task} | n | test accuracy | gain, points | cross-entropy, nats |\n|---|---|---|---|---|")
        for method, (base, _) in METHODS.items():
            seeds = sorted(s for t, s, m in cells if t == task and m == method and (t, s, base or m) in cells)
            if not seeds:
                continue
            mean = statistics.mean(cells[task, seed, method]["accuracy"] for seed in seeds)
            gains = []
            for key, unit in (("accuracy", 100.0), ("nll", 1.0)):
                pairs = ((cells[task, s, method][key], cells[task, s, base or method][key]) for s in seeds)
                gains.append(interval([unit * (new - old) for new, old in pairs]) if base else "")
            name = method if base in ("", "plain") else f"{method} (over {base})"
            print(f"| {name} | {len(seeds)} | {mean:.4f} | {gains[0]} | {gains[1]} |")


def interval(values: list[float]) -> str:
    """Mean and 95% interval."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:+.2f}"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"


def main() -> None:
    """Run the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["digits", "textures"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--photos", type=Path, help="a folder that holds signs, tiles or clothing")
    parser.add_argument("--cells", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    print(machine())
    for seed in range(options.first_seed, options.seeds) if not options.table else ():
        for name in options.tasks:
            task = load(name, seed, options.photos)
            for method in options.methods:
                if (name, seed, method) in read(options.cells):
                    continue
                cell = {"task": name, "seed": seed, "method": method}
                cell |= train(task, METHODS[method][1], seed, options.epochs)
                with options.cells.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(cell) + "\n")
                print(cell, flush=True)
    table(read(options.cells), options.tasks)


if __name__ == "__main__":
    main()
