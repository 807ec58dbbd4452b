"""Photographs: a search of 20 minutes beside the strongest that people do without one, and plain Optuna.

    python benchmarks/photos/photos.py --record --photos FOLDER    the missing cells; goes on where it stopped
    python benchmarks/photos/photos.py                             the table of the recorded cells, the last line

A cell is a task, an arm and a seed: a process of its own on two threads, whose result is a file in
`recorded/`. All arms read one table of splits and start from the same weights; each chooses on validation,
and the harness looks at the test split at the end (and for the curve over time). Nothing else should run
meanwhile. Cells with other `--minutes`, or of a `--cut` of the images, are kept apart, in `data/`.

A task counts in the last line when every arm is there (until then it is said how ours is beside those that
are); its figures are means over the seeds that all arms have. "recipe" is per task the better of 10 epochs and as many as fit. As good as the best peer: until the
incumbent's test accuracy is at the median of that peer's ends; medians over seeds, the whole budget where
never.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import MINUTES, TASKS, cell_file, cell_of, check, folder_of, table

HERE = Path(__file__).resolve().parent
SEEDS, THREADS, RESOLUTION = (0, 1, 2), 2, 128
SCRIPTS = {
    "ours": "ours.py", "recipe10": "recipe.py", "recipe": "recipe.py", "fastai": "finetune.py",
    "features": "features.py", "optuna": "tuned.py",
}  # fmt: skip
PEERS = tuple(arm for arm in SCRIPTS if arm != "ours")

Key = tuple[str, str, int]
Cells = dict[Key, dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """What a task came to, over the seeds that every arm has.

    Attributes:
        means: Mean test accuracy of each arm.
        sooner: Seconds of the best peer over ours, to be as good as the best peer is at its end.
    """

    seeds: list[int]
    means: dict[str, float]
    sooner: float

    @property
    def best_peer(self) -> str:
        """The arm that a person should have taken."""
        return max((arm for arm in PEERS if arm in self.means), key=lambda arm: self.means[arm])

    @property
    def gain(self) -> float:
        """Points of test accuracy over the best peer."""
        return 100 * (self.means["ours"] - self.means[self.best_peer])


def read_cells(folder: Path) -> Cells:
    """The cells of a folder."""
    found = [cell_of(file) for file in sorted(folder.glob("*.json"))]
    return {(cell["task"], cell["arm"], cell["seed"]): cell for cell in found}


def reached(curve: list[dict[str, Any]], target: float, budget: float) -> float:
    """Seconds until the incumbent's test accuracy is at the target; the budget where never."""
    return next((point["seconds"] for point in curve if point["test"] >= target), budget)


def record(options: argparse.Namespace) -> list[str]:
    """Run the cells that are missing; those that failed are named, and tried again next time."""
    failed = []
    if options.photos is None and (given := [task for task in options.tasks if TASKS[task].given]):
        print(f"without --photos FOLDER nothing is recorded on {', '.join(given)}", flush=True)
    if hasattr(os, "sched_setaffinity"):  # processes that a cell starts have these cores, too
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    for seed in options.seeds:
        for task in options.tasks:
            for arm in options.arms:
                output = cell_file(task, arm, seed, options.minutes, options.cut)
                if output.exists() or (TASKS[task].given and options.photos is None):
                    continue
                print(f"recording {arm} on {task}, seed {seed}", flush=True)
                if run(arm, task, seed, options, output) != 0:
                    failed.append(f"{arm} on {task}, seed {seed}")
    return failed


def run(arm: str, task: str, seed: int, options: argparse.Namespace, output: Path) -> int:
    """One cell, in a process of its own."""
    file, images = table(task, seed, options.photos, options.cut)
    arguments: list[str | Path] = [
        arm, task, str(seed), "--table", file, "--images", images, "--flips", *TASKS[task].flips,
        "--resolution", str(RESOLUTION), "--minutes", str(options.minutes), "--output", output,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    return subprocess.run(
        [sys.executable, HERE / SCRIPTS[arm], *arguments], check=False, env=environment
    ).returncode


def row_of(
    task: str, cells: Cells, seeds: Iterable[int], minutes: float, arms: Collection[str] = tuple(SCRIPTS)
) -> Row | None:
    """A task's figures over the seeds that these arms have; None where there is no such seed."""
    common = [seed for seed in seeds if all((task, arm, seed) in cells for arm in arms)]
    if not common or set(arms) <= {"ours"}:
        return None
    means = {arm: mean_of(cells, task, arm, common) for arm in arms}
    row = Row(common, means, math.nan)
    peer = row.best_peer
    target = statistics.median(cells[task, peer, seed]["final"]["accuracy"] for seed in common)

    def time(arm: str) -> float:
        curves = [cells[task, arm, seed]["curve"] for seed in common]
        return statistics.median(reached(curve, target, 60 * minutes) for curve in curves)

    return Row(common, means, time(peer) / time("ours"))


def mean_of(cells: Cells, task: str, arm: str, seeds: Iterable[int], score: str = "accuracy") -> float:
    """Over the seeds that are there."""
    return statistics.fmean(cells[task, arm, s]["final"][score] for s in seeds if (task, arm, s) in cells)


def print_table(options: argparse.Namespace, cells: Cells) -> None:
    """One line a task, what is missing, and the last line."""
    rows: dict[str, Row] = {}
    partial: dict[str, Row] = {}
    print(f"test accuracy, mean (seeds); {options.minutes:g} minutes a cell")
    print(f"{'task':16}" + "".join(f"{arm:>13}" for arm in SCRIPTS))
    for task in options.tasks:
        print(line(task, cells, options.seeds))
        if TASKS[task].balanced:
            for score in ("balanced_accuracy", "macro_f1"):
                print(line(task, cells, options.seeds, score))
        if (row := row_of(task, cells, options.seeds, options.minutes)) is not None:
            rows[task] = row
        elif (row := so_far(task, cells, options)) is not None:
            partial[task] = row
    for task, row in {**rows, **partial}.items():
        print(f"{task}: ours {row.gain:+.1f} points beside the best peer ({row.best_peer}), as good x "
              f"{row.sooner:.1f} sooner (n = {len(row.seeds)} seeds)"
              + (f", of those recorded: {', '.join(a for a in row.means if a != 'ours')}" * (task in partial)))  # fmt: skip
    for key, cell in sorted(cells.items()):
        print_remarks(key, cell)
    if missing := missing_of(options, cells):
        print("missing: " + "; ".join(missing))
    if rows:
        print(beside("the best peer", list(rows.values())))
    if partial:
        print(beside("the best recorded peer", [*rows.values(), *partial.values()]))
    print(last_line(list(rows.values())))


def beside(peer: str, rows: list[Row]) -> str:
    """How ours is beside a peer of each task."""
    gains = [row.gain for row in rows]
    return (
        f"over {peer} of each task: mean {statistics.fmean(gains):+.2f} points, least {min(gains):+.2f}, as "
        f"good x {sooner(rows):.1f} sooner (geomean of {len(rows)} tasks)"
    )


def so_far(task: str, cells: Cells, options: argparse.Namespace) -> Row | None:
    """A task's figures beside the peers that are there, where not all are; it counts for nothing.

    Peers that are behind the best one on the seeds that they have are not waited for on the others.
    """
    seeds = {arm: {s for s in options.seeds if (task, arm, s) in cells} for arm in ("ours", *PEERS)}
    there = [arm for arm, found in seeds.items() if found]
    if (row := row_of(task, cells, options.seeds, options.minutes, there)) is None:
        return None
    most = seeds["ours"] & seeds[row.best_peer]
    far = [arm for arm in there if seeds[arm] >= most]
    return row_of(task, cells, sorted(most), options.minutes, far)


def sooner(rows: Iterable[Row]) -> float:
    """How much sooner ours is as good as the best peer: the geometric mean."""
    return math.exp(statistics.fmean(math.log(row.sooner) for row in rows))


def line(task: str, cells: Cells, seeds: list[int], score: str = "accuracy") -> str:
    """A score of each arm, with how many seeds it is."""
    parts = []
    for arm in SCRIPTS:
        there = [seed for seed in seeds if (task, arm, seed) in cells]
        text = f"{mean_of(cells, task, arm, there, score):.4f} ({len(there)})" if there else "-"
        parts.append(f"{text:>13}")
    return f"{task if score == 'accuracy' else '  ' + score.replace('_', ' '):16}" + "".join(parts)


def print_remarks(key: Key, cell: dict[str, Any]) -> None:
    """What a reader should know of a cell."""
    task, arm, seed = key
    if arm != "recipe10" and cell["seconds"] > 1.05 * 60 * cell["minutes"]:
        print(f"{arm} on {task}, seed {seed}, took {cell['seconds'] / 60:.1f} of {cell['minutes']:g} minutes")
    if cell.get("skipped"):
        print(
            f"{arm} on {task}, seed {seed}: not on the curve, weights are gone: {'; '.join(cell['skipped'])}"
        )


def missing_of(options: argparse.Namespace, cells: Cells) -> list[str]:
    """Arms whose seeds are not all recorded, by task."""
    found = []
    for task in options.tasks:
        for arm in SCRIPTS:
            seeds = [str(seed) for seed in options.seeds if (task, arm, seed) not in cells]
            if seeds:
                found.append(f"{task} {arm} seed {' '.join(seeds)}")
    return found


def last_line(rows: list[Row]) -> str:
    """What it comes to."""

    def mean(*arms: str) -> str:
        return f"{statistics.fmean(max(row.means[a] for a in arms) for row in rows):.4f}" if rows else "-"

    best = sum(row.gain >= 0 for row in rows)
    times = f"{sooner(rows):.1f}" if rows else "-"
    return (
        f"PHOTOS best on {best} of {len(rows)} tasks; mean test accuracy ours {mean('ours')}, recipe "
        f"{mean('recipe10', 'recipe')}, fastai {mean('fastai')}, features {mean('features')}, optuna "
        f"{mean('optuna')}; as good as the best peer {times} x sooner (geomean)"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", action="store_true", help="run the cells that are missing")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--arms", nargs="+", default=list(SCRIPTS), choices=list(SCRIPTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--photos", type=Path, help="the folder that holds clothing/, signs/ and tiles/")
    parser.add_argument("--cut", type=int, help="about so many images of each task, to try things out")
    options = parser.parse_args()
    if options.record:  # without a folder the others are recorded
        check(parser, options, options.tasks if options.photos is not None else ())
    return options


def main() -> None:
    options = arguments()
    if options.record and (failed := record(options)):
        sys.exit("failed: " + "; ".join(failed))
    print_table(options, read_cells(folder_of(options.minutes, options.cut)))


if __name__ == "__main__":
    main()
