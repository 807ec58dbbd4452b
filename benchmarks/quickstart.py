"""The quickstart's search: seconds to the first answer and to the end, and test accuracy.

    python benchmarks/quickstart.py [digits mnist5k ...] [--runs 3]

Each run is a fresh process with a fresh database and an image cache of its own, and another seed and split.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def one_run(dataset: str, seed: int) -> tuple[float, float, float]:
    """Seconds to the first ranked answer, seconds in all, test accuracy of the winner."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "automl_transfer", "search", str(ROOT / "studies" / "quick.toml"),
                   "--storage", f"sqlite:///{folder}/study.db", "--output", f"{folder}/out",
                   "--cache", f"{folder}/cache", "--set", f"search.seed={seed}", "--set", f"task.seed={seed}",
                   "--set", f"task.dataset={dataset}"]  # fmt: skip
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        first = None
        assert process.stdout is not None
        for line in process.stdout:
            if first is None and "trial   0" in line:
                first = time.perf_counter() - began
        assert process.wait() == 0
        whole = time.perf_counter() - began
        recipe = json.loads(Path(folder, "out", "best_strategy.json").read_text())
        assert first is not None
        return first, whole, recipe["metrics"]["test"]["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("datasets", nargs="*", default=["digits"])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(f"hardware: {platform.processor() or platform.machine()}, python {platform.python_version()}")
    for dataset in options.datasets:
        runs = [one_run(dataset, seed) for seed in range(options.runs)]
        for name, column, form in (
            ("first answer, s", 0, ".1f"),
            ("whole, s", 1, ".1f"),
            ("test accuracy", 2, ".4f"),
        ):
            values = [run[column] for run in runs]
            print(f"{dataset:20} {name:16} n={len(values)}  min {min(values):{form}}  "
                  f"median {statistics.median(values):{form}}  max {max(values):{form}}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
