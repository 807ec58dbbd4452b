"""Time to the peer's accuracy: how much sooner a search is as good as plain Optuna after 15 minutes.

    python benchmarks/race/race.py --record      the peer's curves, once a cell; goes on where it stopped
    python benchmarks/race/race.py               our side, one of the peer's cells again as calibration

Target: the median over seeds of the peer's final test accuracy. Time: the median over seeds until the
incumbent's test accuracy is there, from the command's start; the whole budget where never. The test split
is looked at by this harness only. Nothing else should run meanwhile. The peer's curves lie in `recorded/`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tasks import TASKS

HERE = Path(__file__).resolve().parent
SEEDS, MINUTES, OURS_MINUTES, THREADS = (0, 1, 2), 15.0, 5.0, 2


def run(script: str, task: str, seed: int, minutes: float, output: Path) -> dict[str, Any]:
    """One cell, in a process of its own, on two threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    arguments = [task, str(seed), "--minutes", str(minutes), "--output", str(output)]
    subprocess.run([sys.executable, HERE / script, *arguments], check=True, cwd=HERE, env=environment)
    return json.loads(output.read_text(encoding="utf-8"))


def reached(curve: list[dict[str, float]], target: float) -> float:
    """Seconds until the incumbent's test accuracy is at the target; infinity where never."""
    return next((point["seconds"] for point in curve if point["test"] >= target), math.inf)


def record(folder: Path, tasks: list[str], seeds: list[int]) -> dict[tuple[str, int], dict[str, Any]]:
    """The peer's cells; those that are missing are run."""
    cells = {}
    for seed in seeds:
        for task in tasks:
            file = folder / f"peer-{task}-{seed}.json"
            if not file.exists():
                print(f"recording the peer on {task}, seed {seed} ({MINUTES:g} minutes)", flush=True)
                run("peer.py", task, seed, MINUTES, file)
            cells[task, seed] = json.loads(file.read_text(encoding="utf-8"))
    return cells


def calibrate(cells: dict[tuple[str, int], dict[str, Any]], folder: Path, task: str) -> None:
    """Run one recorded cell again: how fast this machine is today, beside then."""
    before = cells[task, 0]
    now = run("peer.py", task, 0, 3.0, folder / "calibration.json")
    for point in reversed(before["curve"]):
        again = reached([{**p, "test": p["validation"]} for p in now["curve"]], point["validation"])
        if again < math.inf:
            print(f"calibration: the peer on {task} reaches validation {point['validation']:.3f} after "
                  f"{again:.0f} s, when recorded after {point['seconds']:.0f} s")  # fmt: skip
            return
    print(f"calibration: the peer on {task} reached nothing of what was recorded within 3 minutes")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", action="store_true", help="only record the peer's missing cells")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--recorded", type=Path, default=HERE / "recorded")
    parser.add_argument("--results", type=Path, default=HERE / "data")
    options = parser.parse_args()
    cells = record(options.recorded, options.tasks, options.seeds)
    if options.record:
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {THREADS} threads each")
    calibrate(cells, options.results, options.tasks[0])
    ratios = []
    for task in options.tasks:
        peers = [cells[task, seed] for seed in SEEDS]
        target = statistics.median(peer["curve"][-1]["test"] for peer in peers)
        ours = [
            run("ours.py", task, seed, OURS_MINUTES, options.results / f"ours-{task}-{seed}.json")
            for seed in SEEDS
        ]
        theirs = statistics.median(min(60 * MINUTES, reached(peer["curve"], target)) for peer in peers)
        mine = statistics.median(min(60 * MINUTES, reached(one["curve"], target)) for one in ours)
        final = statistics.median(one["final_test"] for one in ours)
        ratios.append(theirs / mine)
        print(f"{task:12} target {target:.4f}  peer {theirs:6.1f} s  ours {mine:6.1f} s  x{theirs / mine:.1f}  "
              f"final test: peer {target:.4f}, ours {final:.4f} (n = {len(SEEDS)})", flush=True)  # fmt: skip
    geomean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(f"SOONER geomean {geomean:.1f} x, minimum {min(ratios):.1f} x")


if __name__ == "__main__":
    main()
