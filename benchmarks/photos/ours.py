"""One cell for automl-transfer: a real `search` command over the table, and its incumbents judged on test.

Seconds count from the command's start. Its answer is what `best_strategy.json` says of the test split.
Incumbents whose weights the store kept are loaded, solved heads are solved again; others are named as
skipped in the cell. `searched` is what `../search/worth.py` tells of it.
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
sys.path.append(str(Path(__file__).resolve().parents[1] / "search"))
from cell import options, versions, write
from found import found
from here import machine
from incumbents import judged

STUDY = "photos"


def command(asked: argparse.Namespace, folder: Path, url: str) -> list[str]:
    """The search, as a person would start it."""
    settings = {
        "task.resolution": asked.resolution, "task.seed": asked.seed, "search.seed": asked.seed,
        "task.label_preserving": json.dumps(asked.flips),
    }  # fmt: skip
    return [
        sys.executable, "-m", "automl_transfer", "search", str(asked.table), "--images", str(asked.images),
        "--preset", "quick", "--minutes", str(asked.minutes), "--study-name", STUDY, "--storage", url,
        "--output", str(folder / "out"), "--cache", str(folder / "cache"),
        *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
    ]  # fmt: skip


def search(asked: argparse.Namespace) -> dict[str, Any]:
    """Run it, then judge what it had found when."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        url = f"sqlite:///{folder}/study.db"
        began = time.time()
        done = subprocess.run(command(asked, folder, url), capture_output=True, text=True, check=False)
        seconds = time.time() - began
        if done.returncode != 0:
            sys.exit(f"the search ended with {done.returncode}: {done.stderr or done.stdout}")
        recipe = json.loads((folder / "out" / "best_strategy.json").read_text(encoding="utf-8"))
        curve, skipped, trials = judged(url, STUDY, folder, began, again=False)
        searched = found(url, STUDY, folder / "out")
    metrics = recipe["metrics"]
    final = {name: metrics["test"][name] for name in ("accuracy", "balanced_accuracy", "macro_f1", "n")}
    curve.append({
        "seconds": seconds, "validation": metrics["validation"]["accuracy"], "test": final["accuracy"],
        "strategy": "what was shipped",
    })  # fmt: skip
    return {
        "arm": asked.arm, "task": asked.task, "seed": asked.seed, "minutes": asked.minutes, "seconds": seconds,
        "curve": curve, "final": final, "skipped": skipped, "trials": trials, "strategy": recipe["strategy"],
        "searched": searched,
        "refit": recipe["training"]["refit"], "shipped_as": recipe.get("shipped_as"),
        "resolution": recipe["task"]["resolution"], "machine": machine(),
        "versions": versions("automl-transfer", "torch", "torchvision", "timm", "optuna"),
    }  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")
    asked = options()
    write(asked.output, search(asked))


if __name__ == "__main__":
    main()
