"""Time to the peer's accuracy: how much sooner a search is as good as plain Optuna after 15 minutes.

    python benchmarks/race/race.py --record      the peer's curves, once a cell; goes on where it stopped
    python benchmarks/race/race.py               our side, one of the peer's cells again as calibration
    python benchmarks/race/race.py --table       the table of the last race again, nothing is run

Target: the median over seeds of the peer's final test accuracy. Time: the median over seeds until the
incumbent's test accuracy is there, from the command's start; the whole budget where never. The test split
is looked at by this harness only. Nothing else should run meanwhile. The peer's curves lie in `recorded/`,
ours in `data/`; seeds that were not recorded are not raced.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tasks import TASKS

HERE = Path(__file__).resolve().parent
SEEDS, MINUTES, OURS_MINUTES, THREADS = (0, 1, 2), 15.0, 5.0, 2

Cells = dict[tuple[str, int], dict[str, Any]]


def run(script: str, task: str, seed: int, minutes: float, output: Path) -> dict[str, Any]:
    """One cell, in a process of its own, on two threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    arguments = [task, str(seed), "--minutes", str(minutes), "--output", str(output)]
    subprocess.run([sys.executable, HERE / script, *arguments], check=True, cwd=HERE, env=environment)
    return json.loads(output.read_text(encoding="utf-8"))


def read_cells(folder: Path, side: str) -> Cells:
    """The cells of one side ("peer" or "ours") that lie in a folder."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob(f"{side}-*.json"))]
    return {(cell["task"], cell["seed"]): cell for cell in found}


def reached(curve: list[dict[str, float]], target: float, of: str = "test") -> float:
    """Seconds until the incumbent's accuracy is at the target; infinity where never."""
    return next((point["seconds"] for point in curve if point[of] >= target), math.inf)


def record(folder: Path, tasks: list[str], seeds: list[int]) -> None:
    """Run the peer's cells that are missing."""
    known = read_cells(folder, "peer")
    for seed in seeds:
        for task in tasks:
            if (task, seed) not in known:
                print(f"recording the peer on {task}, seed {seed} ({MINUTES:g} minutes)", flush=True)
                run("peer.py", task, seed, MINUTES, folder / f"peer-{task}-{seed}.json")


def calibrate(before: dict[str, Any], folder: Path) -> None:
    """Run a recorded cell again for three minutes: how fast this machine is today, beside then."""
    task, seed = before["task"], before["seed"]
    now = run("peer.py", task, seed, 3.0, folder / "calibration.json")
    print("calibration: a step of the yardstick takes {:.1f} ms, when recorded {:.1f} ms".format(
        now["machine"]["step_ms"], before["machine"]["step_ms"]))  # fmt: skip
    for point in reversed(before["curve"]):
        again = reached(now["curve"], point["validation"], "validation")
        if again < math.inf:
            print(f"calibration: the peer on {task} reaches validation {point['validation']:.3f} after "
                  f"{again:.0f} s, when recorded after {point['seconds']:.0f} s")  # fmt: skip
            return
    print(f"calibration: the peer on {task} reached nothing of what was recorded within 3 minutes")


def table(peers: Cells, ours: Cells, tasks: list[str]) -> None:
    """One line a task, and the geometric mean."""
    ratios = []
    for task in tasks:
        seeds = [seed for seed in SEEDS if (task, seed) in peers and (task, seed) in ours]
        if not seeds:
            print(f"{task:12} not recorded")
            continue
        target = statistics.median(peers[task, seed]["curve"][-1]["test"] for seed in seeds)

        def median_time(cells: Cells, task: str = task, target: float = target) -> float:
            times = [reached(cells[task, seed]["curve"], target) for seed in SEEDS if (task, seed) in ours]
            return statistics.median(min(60 * MINUTES, time) for time in times)

        theirs, mine = median_time(peers), median_time(ours)
        finals = [ours[task, seed]["final_test"] for seed in seeds]
        ends = statistics.median(ours[task, seed]["seconds"] for seed in seeds)
        ratios.append(theirs / mine)
        print(f"{task:12} target {target:.4f}  peer {theirs:6.1f} s  ours {mine:6.1f} s  x{theirs / mine:.1f}  "
              f"final test: peer {target:.4f}, ours {statistics.median(finals):.4f} after {ends:.0f} s "
              f"(n = {len(seeds)})", flush=True)  # fmt: skip
    if ratios:
        geomean = math.exp(statistics.fmean(map(math.log, ratios)))
        print(f"SOONER geomean {geomean:.1f} x, minimum {min(ratios):.1f} x")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", action="store_true", help="only record the peer's missing cells")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--recorded", type=Path, default=HERE / "recorded")
    parser.add_argument("--results", type=Path, default=HERE / "data")
    options = parser.parse_args()
    if options.record:
        record(options.recorded, options.tasks, options.seeds)
        return
    peers = read_cells(options.recorded, "peer")
    cells = [(task, seed) for task in options.tasks for seed in options.seeds if (task, seed) in peers]
    if not cells:
        sys.exit("the peer must be recorded first, nothing is in recorded/: run with --record")
    if not options.table:
        calibrate(peers[cells[0]], options.results)
        for task, seed in cells:
            run("ours.py", task, seed, OURS_MINUTES, options.results / f"ours-{task}-{seed}.json")
    machine = peers[cells[0]]["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {THREADS} threads each")
    table(peers, read_cells(options.results, "ours"), options.tasks)


if __name__ == "__main__":
    main()
