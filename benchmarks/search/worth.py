"""Is searching worth it: a search's winner beside the best first answer, and the best recipe of the portfolio.

    python benchmarks/search/worth.py --record --photos FOLDER     the missing cells; goes on where it stopped
    python benchmarks/search/worth.py                              the table of what is recorded, the last line
    python benchmarks/search/worth.py --record --bias --tasks digits textures mnist    is the confirmed accuracy true
    python benchmarks/search/worth.py --record --minutes .5 --max-steps 30 --tasks textures --seeds 0    tries it out

A cell is a task, an arm and a seed, a process of its own on two threads, whose result is a file in `recorded/`.
The arm `search` is a real `search` command of 20 minutes, `recipe: NAME` one recipe of the portfolio laid over
what that search's profile found, trained once to the end of the same horizon, in a process of its own. A search of
the photographs is the one that `photos.py` records, which is run there where it is missing. All
choose on validation and are judged on test once: of the first answers (solved heads, and the one tuned on
gently) the best is taken from the search's own store, and of the recipes the best of all. Nothing else should
run meanwhile. Cells with other `--minutes` or `--max-steps` are kept apart, in `data/`.

What ships is trained on the validation images too, which first answers and recipes are not: "alone" is the
trial that shipped as it was before that, for a comparison of strategies and nothing else.

Wasted is the share of the trials' seconds that went into strategies which ended outside the set of the best
("a" in `ranking.json`) and had not been promoted: they came to their first rung, or to their end, and no further.
First answers that run through count as any other.

With `--bias` only searches run, of six strategies and without a refit, because the confirmed accuracy is that of
models which train on no more images than the trial did; told is by how much it is off on test, over searches.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from automl_transfer.search.portfolio import PORTFOLIO
from studies import PHOTOGRAPHS, RACE, SMALL, needs_folder, photographs_cell

HERE = Path(__file__).resolve().parent
SEEDS, MINUTES, THREADS = (0, 1, 2), 20.0, 2
SEARCH = "search"
RECIPES = tuple(f"recipe: {name}" for name in PORTFOLIO)

Key = tuple[str, str, int]
Cells = dict[Key, dict[str, Any]]


def folder_of(options: argparse.Namespace) -> Path:
    """Where cells lie: those that count in `recorded/`."""
    if options.minutes == MINUTES and options.max_steps is None:
        return HERE / "recorded" / "bias" if options.bias else HERE / "recorded"
    steps = "" if options.max_steps is None else f"-steps-{options.max_steps}"
    return HERE / "data" / (f"minutes-{options.minutes:g}{steps}" + "-bias" * options.bias)


def file_of(folder: Path, key: Key) -> Path:
    """A cell's file."""
    task, arm, seed = key
    return folder / f"{task}-{arm.replace(': ', '-').replace(', ', '-').replace(' ', '-')}-{seed}.json"


def read_cells(options: argparse.Namespace) -> Cells:
    """The recorded cells, and the photographs' searches that tell what they found beyond their first answers."""
    files = sorted(folder_of(options).glob("*.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    cells = {(cell["task"], cell["arm"], cell["seed"]): cell for cell in found}
    for task, seed in product(options.tasks, options.seeds):
        if (cell := read_search(options, task, seed)) is not None:
            cells[task, SEARCH, seed] = cell
    return cells


def read_search(options: argparse.Namespace, task: str, seed: int) -> dict[str, Any] | None:
    """A search's cell; None where it is not there, or tells nothing of what it found beyond its first answers."""
    if not (file := search_file(options, task, seed)).exists():
        return None
    cell: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if not by_photos(options, task):
        return cell
    return {**cell, **cell["searched"]} if "searched" in cell else None


def search_file(options: argparse.Namespace, task: str, seed: int) -> Path:
    """Where the search of a task is kept."""
    if by_photos(options, task):
        return photographs_cell(task, seed, options.minutes)
    return file_of(folder_of(options), (task, SEARCH, seed))


def by_photos(options: argparse.Namespace, task: str) -> bool:
    """Whether `photos.py` runs a task's search: nothing is asked that it does not know."""
    return task in PHOTOGRAPHS and not options.bias and options.max_steps is None


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
                if (search_file(options, task, seed) if arm == SEARCH else file_of(folder, key)).exists():
                    continue
                if arm != SEARCH and read_search(options, task, seed) is None:
                    continue  # without what the search tells there is no profile to lay a recipe over
                print(f"recording {arm} on {task}, seed {seed}", flush=True)
                if run(key, options, folder) != 0:
                    failed.append(f"{arm} on {task}, seed {seed}")
    return failed


def run(key: Key, options: argparse.Namespace, folder: Path) -> int:
    """One cell, in a process of its own."""
    task, arm, seed = key
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    given = [] if options.photos is None else ["--photos", str(options.photos)]
    if arm == SEARCH and by_photos(options, task):
        what = ["--tasks", task, "--arms", "ours", "--seeds", str(seed), "--minutes", str(options.minutes)]
        photos = [sys.executable, str(HERE.parent / "photos" / "photos.py"), "--record", *what, *given]
        return subprocess.run(photos, check=False, env=environment, stdout=subprocess.DEVNULL).returncode
    arguments: list[str | Path] = [arm, task, str(seed), "--minutes", str(options.minutes), *given]
    arguments += ["--output", file_of(folder, key), "--base", search_file(options, task, seed)]
    if options.bias:
        arguments += ["--bias"]
    if options.max_steps is not None:
        arguments += ["--max-steps", str(options.max_steps)]
    command = [sys.executable, HERE / "one.py", *arguments]
    return subprocess.run(command, check=False, env=environment).returncode


class Row:
    """A task's searches: means over seeds, in points of test accuracy.

    Attributes:
        seeds: That have a search.
        compared: Those of them that have every recipe, too; only they say what is over the portfolio.
    """

    def __init__(self, task: str, cells: Cells, seeds: Sequence[int]) -> None:
        self.task = task
        self.seeds = [seed for seed in seeds if (task, SEARCH, seed) in cells]
        self.compared = [s for s in self.seeds if all((task, arm, s) in cells for arm in RECIPES)]
        searches = [cells[task, SEARCH, seed] for seed in self.seeds]
        self.search = _mean([cell["test"] for cell in searches])
        self.first = _mean([cell["first"]["test"] for cell in searches])
        chosen = {s: best_recipe([cells[task, arm, s] for arm in RECIPES]) for s in self.compared}
        self.recipe = _mean([cell["test"] for cell in chosen.values()])
        self.over_portfolio = _mean(
            [cells[task, SEARCH, s]["test"] - cell["test"] for s, cell in chosen.items()]
        )
        self.alone = _mean([alone(cell) for cell in searches])
        self.alone_over_portfolio = _mean(
            [alone(cells[task, SEARCH, s]) - cell["test"] for s, cell in chosen.items()]
        )
        self.wasted = _mean([cell["wasted"] for cell in searches])
        self.confirmed = _mean([c["confirmed"] for c in searches if c["confirmed"] is not None])
        self.trials = statistics.fmean(cell["trials"] for cell in searches) if searches else 0.0

    @property
    def gain(self) -> float:
        """Over the best first answer."""
        return self.search - self.first


def alone(cell: Mapping[str, Any]) -> float:
    """Test accuracy of the trial that shipped, before anything was trained on more images."""
    tried = [point for point in cell["curve"] if point["strategy"] != "what was shipped"]
    # Confirmation may prefer one that was the best by validation earlier.
    own = [point for point in tried if point["validation"] == cell["validation"]]
    return float((own or tried)[-1]["test"])


def best_recipe(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The one that validation chooses."""
    return max(cells, key=lambda cell: (cell["validation"], -cell["loss"]))


def _mean(shares: Sequence[float]) -> float:
    return 100.0 * statistics.fmean(shares) if shares else float("nan")


def lines(rows: Sequence[Row]) -> list[str]:
    """The table."""
    found = [
        f"{'task':16}{'seeds':>6}{'first answers':>15}{'portfolio':>15}{'alone':>8}{'search':>9}"
        f"{'confirmed':>11}{'gain':>7}{'over portfolio':>16}{'wasted':>8}{'strategies':>12}"
    ]
    for row in rows:
        portfolio = f"{row.recipe:.2f} (n = {len(row.compared)})" if row.compared else "-"
        over = f"{row.over_portfolio:+.2f}" if row.compared else "-"
        confirmed = "-" if math.isnan(row.confirmed) else f"{row.confirmed:.2f}"
        found.append(
            f"{row.task:16}{len(row.seeds):>6}{row.first:>15.2f}{portfolio:>15}{row.alone:>8.2f}{row.search:>9.2f}"
            f"{confirmed:>11}{row.gain:>+7.2f}{over:>16}{row.wasted:>7.0f}%{row.trials:>12.1f}"
        )
    for name, tasks in (("photographs", PHOTOGRAPHS), ("race", RACE)):
        if some := [row for row in rows if row.task in tasks]:
            compared = [row for row in some if row.compared]
            over = [row.over_portfolio for row in compared]
            off = [row.confirmed - row.search for row in some if not math.isnan(row.confirmed)]
            found.append(
                f"{name}: gains {_told(row.gain for row in some)} points, over the portfolio {_with_least(over)}, "
                f"wasted {statistics.fmean(row.wasted for row in some):.0f}%, confirmed accuracy is "
                f"{_told(off)} points off ({len(some)} tasks, {len(over)} with the portfolio)"
            )
            found.append(
                f"{name}, alone: gains {_told(row.alone - row.first for row in some)} points, "
                f"over the portfolio {_with_least([row.alone_over_portfolio for row in compared])}"
            )
    return found


def _with_least(points: Sequence[float]) -> str:
    return _told(points) + (f" (least {min(points):+.2f})" if points else "")


def _told(points: Iterable[float]) -> str:
    known = list(points)
    return f"{statistics.fmean(known):+.2f}" if known else "-"


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


def off_lines(cells: Cells, tasks: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Of each search, by how much the confirmed accuracy is off on test: of what ships, and as it was judged."""
    found = []
    for task, seed in product(tasks, seeds):
        cell = cells.get((task, SEARCH, seed))
        if cell is not None and cell["confirmed"] is not None:
            ships, judged = (100 * (cell["confirmed"] - each) for each in (cell["test"], alone(cell)))
            found.append(
                f"{task} {seed}: confirmed {ships:+.2f} points off on test, {judged:+.2f} before its refit"
            )
    return found


def last_line(rows: Sequence[Row]) -> str:
    """Of the photographs; where none is recorded, of all tasks that are."""
    some = [row for row in rows if row.task in PHOTOGRAPHS] or list(rows)
    over = _told(row.over_portfolio for row in some if row.compared)
    wasted = f"{statistics.fmean(row.wasted for row in some):.0f}%" if some else "-"
    return (
        f"SEARCH gains {_told(row.gain for row in some)} points, over the portfolio {over}, wasted {wasted}"
    )


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
    cells = read_cells(options)
    if options.bias:
        print(*bias_lines(cells, options.tasks, options.seeds), sep="\n")
        return
    rows = [Row(task, cells, options.seeds) for task in options.tasks]
    there = [row for row in rows if row.seeds]
    print(f"test accuracy in points, means over seeds; {options.minutes:g} minutes a search")
    print(*lines(there), *off_lines(cells, options.tasks, options.seeds), sep="\n")
    if missing := [
        f"{row.task} seed {seed}" + (" portfolio" if seed in row.seeds else "")
        for row in rows
        for seed in options.seeds
        if seed not in row.compared
    ]:
        print("missing: " + "; ".join(missing))
    print(last_line(there))
    if failed:
        sys.exit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
