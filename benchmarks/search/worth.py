"""Is searching worth it: a search's winner beside the best first answer, and the best recipe of the portfolio.

    python benchmarks/search/worth.py --record --photos FOLDER     the missing cells; goes on where it stopped
    python benchmarks/search/worth.py                              the table of what is recorded, the last line
    python benchmarks/search/worth.py --record --bias --tasks digits textures mnist    is the confirmed accuracy true
    python benchmarks/search/worth.py --record --minutes .5 --max-steps 30 --tasks textures --seeds 0    tries it out

A cell is a task, an arm and a seed, a process of its own on two threads, whose result is a file in `recorded/`.
The arm `search` is a real `search` command of 20 minutes, `recipe: NAME` one recipe of the portfolio laid over
what that search's profile found, trained once to the end of the same horizon, in a process of its own. All
choose on validation and are judged on test once: of the first answers (solved heads, and the one tuned on
gently) the best is taken from the search's own store, and of the recipes the best of all. Nothing else should
run meanwhile. Cells with other `--minutes` or `--max-steps` are kept apart, in `data/`.

Wasted is the share of the trials' seconds that went into strategies which ended outside the set of the best
("a" in `ranking.json`) and had not been promoted: they came to their first rung, or to their end, and no further.
First answers that run through count as any other.

With `--bias` only searches run, of six strategies and without a refit, because the confirmed accuracy is that of
models which train on no more images than the trial did; told is by how much it is off on test, over searches.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from automl_transfer.search.portfolio import PORTFOLIO
from studies import PHOTOGRAPHS, RACE, SMALL, needs_folder

HERE = Path(__file__).resolve().parent
SEEDS, MINUTES, THREADS = (0, 1, 2), 20.0, 2
SEARCH = "search"
RECIPES = tuple(f"recipe: {name}" for name in PORTFOLIO)

Key = tuple[str, str, int]
Cells = dict[Key, dict[str, Any]]


def folder_of(options: argparse.Namespace) -> Path:
    """Where cells lie: those that count in `recorded/`."""
    if options.minutes == MINUTES and options.max_steps is None and not options.bias:
        return HERE / "recorded"
    steps = "" if options.max_steps is None else f"-steps-{options.max_steps}"
    return HERE / "data" / (f"minutes-{options.minutes:g}{steps}" + "-bias" * options.bias)


def file_of(folder: Path, key: Key) -> Path:
    """A cell's file."""
    task, arm, seed = key
    return folder / f"{task}-{arm.replace(': ', '-').replace(', ', '-').replace(' ', '-')}-{seed}.json"


def read_cells(folder: Path) -> Cells:
    """The cells of a folder."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    return {(cell["task"], cell["arm"], cell["seed"]): cell for cell in found}


def record(options: argparse.Namespace, folder: Path) -> list[str]:
    """Run the cells that are missing; those that failed are named, and tried again next time."""
    failed = []
    if hasattr(os, "sched_setaffinity"):  # processes that a cell starts have these cores, too
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[: max(options.threads, 2)])
    for seed in options.seeds:
        for task in options.tasks:
            if needs_folder(task) and options.photos is None:
                print(f"without --photos FOLDER nothing is recorded on {task}", flush=True)
                continue
            for arm in (SEARCH, *(() if options.bias else RECIPES)):
                key = task, arm, seed
                base = file_of(folder, (task, SEARCH, seed))
                if file_of(folder, key).exists() or (arm != SEARCH and not base.exists()):
                    continue  # without the search there is no profile to lay a recipe over
                print(f"recording {arm} on {task}, seed {seed}", flush=True)
                if run(key, options, folder) != 0:
                    failed.append(f"{arm} on {task}, seed {seed}")
    return failed


def run(key: Key, options: argparse.Namespace, folder: Path) -> int:
    """One cell, in a process of its own."""
    task, arm, seed = key
    arguments: list[str | Path] = [arm, task, str(seed), "--minutes", str(options.minutes)]
    arguments += ["--output", file_of(folder, key), "--base", file_of(folder, (task, SEARCH, seed))]
    if options.bias:
        arguments += ["--bias"]
    if options.max_steps is not None:
        arguments += ["--max-steps", str(options.max_steps)]
    if options.photos is not None:
        arguments += ["--photos", options.photos]
    command = [sys.executable, HERE / "one.py", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    return subprocess.run(command, check=False, env=environment).returncode


class Row:
    """A task's cells of the seeds that have every arm: means over seeds, in points of test accuracy."""

    def __init__(self, task: str, cells: Cells, seeds: Sequence[int]) -> None:
        self.task = task
        self.seeds = [s for s in seeds if all((task, arm, s) in cells for arm in (SEARCH, *RECIPES))]
        searches = [cells[task, SEARCH, seed] for seed in self.seeds]
        self.search = _mean([cell["test"] for cell in searches])
        self.first = _mean([cell["first"]["test"] for cell in searches])
        self.recipe = _mean(
            [best_recipe([cells[task, a, seed] for a in RECIPES])["test"] for seed in self.seeds]
        )
        self.wasted = _mean([cell["wasted"] for cell in searches])
        self.confirmed = _mean([c["confirmed"] for c in searches if c["confirmed"] is not None])
        self.trials = statistics.fmean(cell["trials"] for cell in searches) if searches else 0.0

    @property
    def gain(self) -> float:
        """Over the best first answer."""
        return self.search - self.first

    @property
    def over_portfolio(self) -> float:
        """Over the best recipe."""
        return self.search - self.recipe


def best_recipe(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The one that validation chooses."""
    return max(cells, key=lambda cell: (cell["validation"], -cell["loss"]))


def _mean(shares: Sequence[float]) -> float:
    return 100.0 * statistics.fmean(shares) if shares else float("nan")


def lines(rows: Sequence[Row]) -> list[str]:
    """The table."""
    found = [
        f"{'task':14}{'seeds':>6}{'first answers':>15}{'portfolio':>11}{'search':>9}{'confirmed':>11}"
        f"{'gain':>7}{'over portfolio':>16}{'wasted':>8}{'strategies':>12}"
    ]
    found += [
        f"{row.task:14}{len(row.seeds):>6}{row.first:>15.2f}{row.recipe:>11.2f}{row.search:>9.2f}"
        f"{row.confirmed:>11.2f}{row.gain:>+7.2f}{row.over_portfolio:>+16.2f}{row.wasted:>7.0f}%"
        f"{row.trials:>12.1f}"
        for row in rows
    ]
    for name, tasks in (("photographs", PHOTOGRAPHS), ("race", RACE)):
        if some := [row for row in rows if row.task in tasks]:
            over = [row.over_portfolio for row in some]
            off = [row.confirmed - row.search for row in some]
            found.append(
                f"{name}: gains {statistics.fmean(row.gain for row in some):+.2f} points, over the portfolio "
                f"{statistics.fmean(over):+.2f} (least {min(over):+.2f}), wasted "
                f"{statistics.fmean(row.wasted for row in some):.0f}%, confirmed accuracy is "
                f"{statistics.fmean(off):+.2f} points off ({len(some)} tasks)"
            )
    return found


def bias_lines(cells: Cells, tasks: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """By how much the confirmed accuracy, and that on validation, are off on test: means over searches."""
    found, lines_ = [], []
    for task in tasks:
        known = [cells[task, SEARCH, seed] for seed in seeds if (task, SEARCH, seed) in cells]
        told = [cell for cell in known if cell["confirmed"] is not None]
        found += told
        if told:
            off = 100 * statistics.fmean(cell["confirmed"] - cell["test"] for cell in told)
            lines_.append(f"{task:14}{len(told):>3} searches, confirmed {off:+.2f} points off")
    if not found:
        return ["no search with a confirmation is recorded"]
    ways = {}
    for name in ("confirmed", "validation"):
        off = [100 * (cell[name] - cell["test"]) for cell in found]
        error = 1.96 * statistics.stdev(off) / len(off) ** 0.5 if len(off) > 1 else float("nan")
        ways[name] = f"{statistics.fmean(off):+.2f} +- {error:.2f}"
    return [
        *lines_,
        f"BIAS confirmed accuracy {ways['confirmed']} points off on test, validation {ways['validation']} "
        f"(n = {len(found)} searches)",
    ]


def last_line(rows: Sequence[Row]) -> str:
    """Of the photographs; where none is recorded, of all tasks that are."""
    some = [row for row in rows if row.task in PHOTOGRAPHS] or list(rows)
    if not some:
        return "SEARCH gains - points, over the portfolio -, wasted -"
    gain, over, wasted = (
        statistics.fmean(getattr(row, name) for row in some) for name in ("gain", "over_portfolio", "wasted")
    )
    return f"SEARCH gains {gain:+.2f} points, over the portfolio {over:+.2f}, wasted {wasted:.0f}%"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*PHOTOGRAPHS, *RACE, *SMALL]
    parser.add_argument("--record", action="store_true", help="run the cells that are missing")
    parser.add_argument("--tasks", nargs="+", default=[*PHOTOGRAPHS, *RACE], choices=known, metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--max-steps", type=int, help="of every training, to try things out")
    parser.add_argument("--bias", action="store_true", help="small searches only: is what is confirmed true")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--photos", type=Path, help="the folder that holds clothing/, signs/ and tiles/")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    folder = folder_of(options)
    failed = record(options, folder) if options.record else []
    cells = read_cells(folder)
    if options.bias:
        print(*bias_lines(cells, options.tasks, options.seeds), sep="\n")
        return
    rows = [Row(task, cells, options.seeds) for task in options.tasks]
    there = [row for row in rows if row.seeds]
    print(f"test accuracy in points, means over seeds; {options.minutes:g} minutes a search")
    print(*lines(there), sep="\n")
    if missing := [
        f"{row.task} seed {seed}" for row in rows for seed in options.seeds if seed not in row.seeds
    ]:
        print("missing: " + "; ".join(missing))
    print(last_line(there))
    if failed:
        sys.exit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
