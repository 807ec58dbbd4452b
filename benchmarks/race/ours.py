"""One cell of the race for automl-transfer: a real `search` command, and its incumbents judged on test.

    python benchmarks/race/ours.py TASK SEED --minutes 5 --output FILE.json

Seconds count from the command's start to the end of each trial, as the store has it. Incumbents are chosen
on validation (ties by cross-entropy, as the ranking does). Afterwards the harness trains each one again,
which gives the same weights, and looks at the test split.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from tasks import TASKS, load, machine, spec

from automl_transfer.api.training import make_run, score_of, train_to_the_end
from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.models.registry import get_source
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import resolve_storage

PRESET = Path(__file__).resolve().parents[2] / "studies" / "quick.toml"


def command(name: str, seed: int, minutes: float, folder: Path) -> list[str]:
    """The search, as a person would start it."""
    task = spec(name, seed)
    settings = {
        "task.dataset": task.dataset,
        "task.resolution": task.resolution,
        "task.on_bad_image": task.on_bad_image,
        "task.seed": seed,
        "task.splits.train": task.splits.train,
        "task.splits.validation": task.splits.validation,
        "task.splits.test": task.splits.test,
        "search.seed": seed,
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [
        sys.executable, "-m", "automl_transfer", "search", str(PRESET), "--minutes", str(minutes),
        "--storage", f"sqlite:///{folder}/study.db", "--output", str(folder / "out"),
        "--cache", str(folder / "cache"), *options,
    ]  # fmt: skip


def incumbents(records: list[TrialRecord]) -> list[TrialRecord]:
    """Complete trials that were the best so far when they ended."""
    done = [r for r in records if r.state is TrialState.COMPLETE and r.finished is not None]
    best: tuple[float, float] | None = None
    found = []
    for record in sorted(done, key=lambda r: r.finished):  # type: ignore[arg-type, return-value]
        epoch = record.best_epoch("accuracy")
        assert epoch is not None
        key = (epoch.accuracy, -epoch.validation_loss)
        if best is None or key > best:
            best = key
            found.append(record)
    return found


def race(name: str, seed: int, minutes: float) -> dict[str, Any]:
    """Run the search, then judge what it had found when."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        began = time.time()
        done = subprocess.run(
            command(name, seed, minutes, folder), capture_output=True, text=True, check=False
        )
        whole = time.time() - began
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        with Store.open(resolve_storage(f"sqlite:///{folder}/study.db", None, folder)) as store:
            handle = store.study("quick")
            records = list(Trials(store).records(handle))
        recipe = json.loads((folder / "out" / "best_strategy.json").read_text(encoding="utf-8"))
    task = load(name, seed)
    curve = []
    for record in incumbents(records):
        assert record.strategy is not None
        assert record.finished is not None
        backbone = get_source(record.strategy.source).load(task.task.channels)
        run = make_run(
            record.strategy, task, backbone, max_epochs=handle.spec.search.max_epochs, seed=seed,
            device=torch.device("cpu"),
        )  # fmt: skip
        train_to_the_end(run)
        epoch = record.best_epoch("accuracy")
        assert epoch is not None
        curve.append({
            "seconds": record.finished.timestamp() - began, "validation": epoch.accuracy,
            "test": score_of(run, "test").accuracy, "strategy": record.strategy.describe(),
        })  # fmt: skip
    final = recipe["metrics"]
    curve.append({
        "seconds": whole, "validation": final["validation"]["accuracy"], "test": final["test"]["accuracy"],
        "strategy": "the winner, after confirmation",
    })  # fmt: skip
    return {
        "task": name, "seed": seed, "minutes": minutes, "curve": curve, "seconds": whole,
        "final_test": recipe["metrics"]["test"]["accuracy"], "trials": len(records),
        "machine": machine(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("seed", type=int)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = race(options.task, options.seed, options.minutes)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
