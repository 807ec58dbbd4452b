"""Which images real strategies get right, run by run: what simulations of the confirmation draw from.

    python benchmarks/bits.py

For each task a part of the images is kept to train on; all others are judged by every run of every strategy.
A run has a seed and a random two thirds of the images to train on, as confirmation runs have, and the same
ones for every strategy. So hard images stay hard, over runs and over strategies, as much as they really do.
Writes `bits.json` beside this file: per task strategies x runs x images, one bit each.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FILE = Path(__file__).with_name("bits.json")
TASKS = {"digits": 20, "mnist5k": 20}
"""Dataset, and images of each class that a run trains on."""
RUNS, JUDGED = 9, 1500
SOLVED = [
    {"truncation": cut, "pool": pool, "taps": taps, "ridge_lambda": penalty}
    for cut, pool, taps, penalty in (
        (2, 4, 1, 1.0), (3, 2, 1, 1.0), (3, 4, 1, 0.1), (3, 4, 1, 1.0), (3, 4, 2, 1.0), (4, 2, 1, 1.0), (4, 4, 1, 0.1),
        (4, 4, 1, 1.0), (4, 4, 2, 1.0), (4, 4, 3, 1.0), (5, 2, 1, 1.0), (5, 4, 1, 0.1), (5, 4, 1, 1.0), (5, 4, 2, 1.0),
        (5, 4, 3, 1.0), (6, 2, 1, 1.0), (6, 2, 2, 1.0), (6, 2, 3, 1.0), (7, 1, 1, 1.0), (8, 1, 1, 1.0),
    )
]  # fmt: skip
GENTLE = {"freeze_depth": 4, "head_lr_mult": 0.03}
TRAINED = [
    {"truncation": 3, "pool": 4, **GENTLE},
    {"truncation": 4, "pool": 4, "taps": 2, **GENTLE},
    {"truncation": 5, "pool": 4, "freeze_depth": 6, "learning_rate": 3e-4, "head_lr_mult": 0.03},
    {"truncation": 4, "pool": 2, "tune_mode": "head", "learning_rate": 1e-2},
]


def strategies() -> list[dict[str, Any]]:
    """As changes of the default strategy."""
    return [{**each, "tune_mode": "closed_form"} for each in SOLVED] + TRAINED


def load(file: Path = FILE) -> dict[str, npt.NDArray[np.bool_]]:
    """(strategies, runs, images) bits of each task."""
    found = {}
    for name, each in json.loads(file.read_text(encoding="utf-8")).items():
        raw = np.unpackbits(np.frombuffer(base64.b64decode(each["correct"]), np.uint8))
        shape = tuple(each["shape"])
        found[name] = raw[: int(np.prod(shape))].astype(bool).reshape(shape)
    return found


def record(name: str, per_class: int) -> npt.NDArray[np.bool_]:
    """Train every run of every strategy, and judge it on the same images."""
    import torch

    from automl_transfer.data.task import load_task
    from automl_transfer.domain.horizon import Horizon
    from automl_transfer.domain.spec import TaskSpec
    from automl_transfer.domain.strategy import Strategy
    from automl_transfer.models.registry import get_source
    from automl_transfer.training.activation_cache import MemoryCache
    from automl_transfer.training.making import make_run, split_logits, train_to_the_end

    task = load_task(TaskSpec(dataset=name, resolution=32))
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(task.labels))
    kept = []
    for label in range(len(task.task.classes)):
        of_class = rows[task.labels[rows] == label]
        kept.append(of_class[: per_class * 3 // 2])
    judged = np.sort(np.setdiff1d(rows, np.concatenate(kept)))
    judged = np.sort(rng.choice(judged, min(JUDGED, len(judged)), replace=False))
    splits = [
        np.sort(np.concatenate([rng.choice(each, per_class, replace=False) for each in kept]))
        for _ in range(RUNS)
    ]
    backbone = get_source("efficientnet-lite0").load(task.task.channels)
    cache = MemoryCache()
    found = np.zeros((len(strategies()), RUNS, len(judged)), bool)
    for place, changes in enumerate(strategies()):
        strategy = Strategy(**changes).canonical()
        for run, train in enumerate(splits):
            # A few judged images alone are looked at after every epoch: they choose nothing here.
            fresh = dataclasses.replace(
                task, indices={"train": train, "validation": judged[:50], "test": judged}
            )
            made = make_run(
                strategy, fresh, backbone, horizon=Horizon.of(len(train), 9), seed=run,
                device=torch.device("cpu"), cache=cache,
            )  # fmt: skip
            train_to_the_end(made, stop_after=0 if strategy.tune_mode == "closed_form" else 9)
            found[place, run] = split_logits(made, "test").argmax(axis=1) == task.labels[judged]
        print(f"{name} {strategy.describe()}: {100 * found[place].mean():.2f}%", flush=True)
    return found


def main() -> None:
    """Record all tasks."""
    import torch

    torch.set_num_threads(1)
    written = {}
    for name, per_class in TASKS.items():
        bits = record(name, per_class)
        written[name] = {
            "per_class": per_class, "shape": bits.shape,
            "correct": base64.b64encode(np.packbits(bits).tobytes()).decode(),
        }  # fmt: skip
        FILE.write_text(json.dumps(written) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
