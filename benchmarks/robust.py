"""What transfer does to robustness, and what a loss that doubts labels wins back.

    python benchmarks/robust.py attack
    python benchmarks/robust.py labels --seeds 5

`attack`: accuracy on test images, clean and where no pixel moves further than eps, for strategies from a solved
head to adversarial training. The attacker knows the weights (`training.robustness`). `labels`: accuracy on test
images where 20% of the training labels are wrong, each drawn from the other classes, under the cross-entropy
and the generalised one; what is won back is a share of what the wrong labels cost, seed by seed. No method
is told which labels are wrong.

Cells are lines of `robust.jsonl` beside this file; those that are there are not run again, so that the command may be
stopped and started again. Intervals are 95%: exact ones (Clopper and Pearson) for one model, Student's t over seeds.
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

sys.path.insert(1, str(Path(__file__).resolve().parent / "race"))
from gains import few, interval
from interleaved import machine
from tasks import SPLITS

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.attack import Attack
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.registry import get_source
from automl_transfer.reporting.statistics import clopper_pearson
from automl_transfer.training.making import make_run, split_logits, train_to_the_end
from automl_transfer.training.robustness import withstands

SOURCE, CPU = "efficientnet-lite0", torch.device("cpu")
TASKS: dict[str, tuple[str, int, int]] = {
    "digits": ("digits", 20, 200), "textures": ("textures?patch=16", 40, 200),
}  # fmt: skip
"""Dataset, training images a class, and test images; all at 32 pixels."""
ATTACKS = ("fgsm:8/255", "pgd:2/255:10", "pgd:8/255:10")
GENTLE = {"tune_mode": "full", "head_init": "ridge", "head_lr_mult": 0.01, "layer_decay": 1.0, "batch": 32}
HALVED = {"truncation": 4, "tune_mode": "full", "norm_policy": "train", "learning_rate": 1e-3,
          "head_lr_mult": 0.1, "layer_decay": 1.0, "batch": 32, "weight_decay": 0.05}  # fmt: skip
LAST = ", last epoch"
STRATEGIES: dict[str, tuple[int, dict[str, Any]]] = {
    "solved head": (1, {"tune_mode": "closed_form"}),
    "solved head, half the network": (1, {"tune_mode": "closed_form", "truncation": 4}),
    "head trained": (8, {"tune_mode": "head", "head_init": "he", "learning_rate": 1e-2, "batch": 32}),
    "tuned gently": (4, GENTLE),
    "half the network, tuned": (20, HALVED),
    "the same, noise .1": (20, {**HALVED, "input_noise": 0.1}),
    "the same, FGSM .03": (20, {**HALVED, "adversarial": 0.03}),
    "the same, PGD-3 .03": (20, {**HALVED, "adversarial": 0.03, "adversarial_steps": 3}),
    f"the same, PGD-3 .03{LAST}": (20, {**HALVED, "adversarial": 0.03, "adversarial_steps": 3}),
}
"""Epochs, and what is changed of the default strategy. The epoch that is judged is the best one by clean validation
images, as a search ships it, or the last one."""
HALF = {
    "truncation": 4,
    "pool": 4,
    "tune_mode": "head",
    "head_init": "he",
    "learning_rate": 3e-3,
    "batch": 32,
}
SOLVED, FRESH = {**HALF, "head_init": "ridge"}, HALF
LABELS: dict[str, tuple[float, dict[str, Any]]] = {
    "no wrong labels": (0.0, SOLVED),
    "cross-entropy": (0.2, SOLVED),
    "gce .3": (0.2, {**SOLVED, "gce": 0.3}),
    "gce .7": (0.2, {**SOLVED, "gce": 0.7}),
    "gce .7, no wrong labels": (0.0, {**SOLVED, "gce": 0.7}),
    "cross-entropy, fresh head": (0.2, FRESH),
    "gce .3, fresh head": (0.2, {**FRESH, "gce": 0.3}),
    "gce .7, fresh head": (0.2, {**FRESH, "gce": 0.7}),
}
"""Share of wrong labels, and the strategy."""
LABELS_PER_CLASS, LABELS_EPOCHS = 60, 40


def load(name: str, seed: int, per_class: int, tested: int) -> LoadedTask:
    """A task with few training images, and so many of its test images."""
    spec = {"dataset": TASKS[name][0], "resolution": 32, "splits": SPLITS, "seed": seed}
    return few(load_task(TaskSpec.model_validate(spec)), seed, per_class, tested)


def attacked(name: str, strategy: str) -> dict[str, Any]:
    """One model, trained and attacked."""
    _, per_class, tested = TASKS[name]
    task = load(name, 0, per_class, tested)
    epochs, changes = STRATEGIES[strategy]
    made = Strategy.model_validate({"source": SOURCE, **changes}).canonical()
    backbone = get_source(made.source).load(task.task.channels)
    began = time.perf_counter()
    run = make_run(made, task, backbone, horizon=Horizon(epochs, 1, None), seed=0, device=CPU)
    if strategy.endswith(LAST):
        run.train_to(epochs)
        run.load_shown()
    else:
        train_to_the_end(run)
    trained = time.perf_counter() - began
    rows = task.indices["test"]
    right = int((split_logits(run, "test").argmax(axis=1) == task.labels[rows]).sum())
    found: dict[str, Any] = {"images": len(rows), "clean": right, "seconds": round(trained, 1)}
    normalise = run.plan.normaliser(CPU)
    for each in ATTACKS:
        kept = withstands(run.model, task.images, rows, task.labels[rows], normalise, Attack.parse(each))
        found[each] = int(kept.sum())
    return found


def mislabelled(seed: int, method: str) -> dict[str, Any]:
    """One model, trained on labels of which some are wrong; judged on right ones."""
    share, changes = LABELS[method]
    task = load("digits", seed, LABELS_PER_CLASS, 400)
    generator = np.random.default_rng(1000 + seed)
    rows, labels = task.indices["train"], np.array(task.labels)
    wrong = generator.choice(rows, round(share * len(rows)), replace=False)
    classes = len(task.task.classes)
    labels[wrong] = (labels[wrong] + generator.integers(1, classes, len(wrong))) % classes
    noisy = dataclasses.replace(task, labels=labels)
    made = Strategy.model_validate({"source": SOURCE, **changes}).canonical()
    backbone = get_source(SOURCE).load(task.task.channels)
    run = make_run(made, noisy, backbone, horizon=Horizon(LABELS_EPOCHS, 1, None), seed=seed, device=CPU)
    run.train_to(LABELS_EPOCHS)
    run.load_shown()
    tested = task.indices["test"]
    right = split_logits(run, "test").argmax(axis=1) == task.labels[tested]
    return {"images": len(tested), "accuracy": float(right.mean())}


def read(path: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """The cells that are there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {tuple(cell["cell"]): cell for cell in map(json.loads, lines)}


def fill(path: Path, wanted: list[tuple[str, ...]]) -> None:
    """Run the cells that are missing."""
    for key in wanted:
        if key in read(path):
            continue
        found = attacked(*key[1:]) if key[0] == "attack" else mislabelled(int(key[1]), key[2])
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cell": key, **found}) + "\n")
        print(key, found, flush=True)


def show_attacks(cells: dict[tuple[str, ...], dict[str, Any]]) -> None:
    """One table a task."""
    for task in TASKS:
        names = [name for name in STRATEGIES if ("attack", task, name) in cells]
        if not names:
            continue
        heads = [str(Attack.parse(each)) for each in ATTACKS]
        print(f"\n| {task} | clean | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 2)}")
        for name in names:
            cell = cells["attack", task, name]
            n = cell["images"]
            shown = [share_of(cell[each], n) for each in ("clean", *ATTACKS)]
            print(f"| {name} | {' | '.join(shown)} |")
        print(f"\nn = {n} test images, one model each")


def share_of(right: int, n: int) -> str:
    """A share with its exact interval."""
    low, high = clopper_pearson(right, n)
    return f"{100 * right / n:.1f}% ({100 * low:.0f} to {100 * high:.0f})"


def show_labels(cells: dict[tuple[str, ...], dict[str, Any]]) -> None:
    """Means over seeds, and what is won back."""
    seeds = sorted({key[1] for key in cells if key[0] == "labels"})
    full = [seed for seed in seeds if all(("labels", seed, method) in cells for method in LABELS)]
    if not full:
        return
    print("\n| digits, 20% wrong labels | accuracy | against the cross-entropy, points | won back |")
    print("|---|---|---|---|")
    for method in LABELS:
        values = [100 * cells["labels", seed, method]["accuracy"] for seed in full]
        base = [100 * cells["labels", seed, "cross-entropy"]["accuracy"] for seed in full]
        clean = [100 * cells["labels", seed, "no wrong labels"]["accuracy"] for seed in full]
        gains = [mine - other for mine, other in zip(values, base, strict=True)]
        lost = statistics.mean(clean) - statistics.mean(base)
        won = f"{100 * statistics.mean(gains) / lost:.0f}%" if LABELS[method][0] and lost else ""
        told = interval(gains) if method != "cross-entropy" else ""
        print(f"| {method} | {statistics.mean(values):.2f}% | {told} | {won} |")
    print(f"\nn = {len(full)} seeds")


def main() -> None:
    """Run the cells that are missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("attack", "labels", "table"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    options = parser.parse_args()
    print(machine())
    wanted: list[tuple[str, ...]] = []
    if options.part == "attack":
        wanted = [("attack", task, name) for name in STRATEGIES for task in TASKS]
    elif options.part == "labels":
        wanted = [("labels", str(seed), method) for seed in range(options.seeds) for method in LABELS]
    fill(options.cells, wanted)
    cells = read(options.cells)
    show_attacks(cells)
    show_labels(cells)


if __name__ == "__main__":
    main()
