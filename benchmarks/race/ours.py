"""One cell of the race for automl-transfer: a real `search` command, and its incumbents judged on test.

    python benchmarks/race/ours.py TASK SEED --minutes 5 --output FILE.json

Seconds count from the command's start to the end of each trial, as the store has it. Incumbents are chosen
on validation. Afterwards the harness loads each one, or trains it again, which gives the same weights, and
looks at the test split.
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

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
from here import machine
from incumbents import judged
from tasks import TASKS, spec

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
        url, study = f"sqlite:///{folder}/study.db", "quick"
        curve, _, trials = judged(url, study, folder, began, again=True)
        recipe = json.loads((folder / "out" / "best_strategy.json").read_text(encoding="utf-8"))
    final = recipe["metrics"]
    curve.append({
        "seconds": whole, "validation": final["validation"]["accuracy"], "test": final["test"]["accuracy"],
        "strategy": "the winner, after confirmation",
    })  # fmt: skip
    return {
        "task": name, "seed": seed, "minutes": minutes, "curve": curve, "seconds": whole,
        "final_test": recipe["metrics"]["test"]["accuracy"], "trials": trials,
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
