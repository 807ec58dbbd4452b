"""Which recorded strategies are good where, without any search.

    python benchmarks/table/strongest.py [--recorded FOLDER] [--by-task | --beyond]

Test accuracy at the epoch that validation chooses, in points over the profile's solved head of the same task;
seconds in those of the tuned answer. Seed 0 alone, so that a strategy with repetitions has no more chances. With
`--by-task` the test accuracy itself, task by task; with `--beyond` what the best strategy has over the best first
answer, both by validation.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent))
import numpy as np
from stored import RECORDED, Cell, TableError, TaskTable, read_all
from strategies import listed

BASE, TUNED = "first: profile", "first: tuned"


def kept(cell: Cell) -> int:
    """The best epoch, as a search takes it."""
    epochs = range(len(cell.validation))
    return max(epochs, key=lambda epoch: (cell.validation[epoch], -cell.nll[epoch], -epoch))


def chosen(cell: Cell) -> tuple[float, float]:
    """Validation and test accuracy at the best epoch."""
    at = kept(cell)
    return cell.validation[at], cell.test[at]


def by_name(table: TaskTable) -> dict[str, Cell]:
    """Cells of seed 0; a name that stands for the same strategy as another one finds that one's cell."""
    found = {
        cell.name: cell for cell in table.cells if cell.seed == 0 and cell.validation and not cell.failed
    }
    known = {cell.key[0]: cell for cell in found.values()}
    for name, answer in table.answers.items():
        if (cell := known.get(answer.key())) is not None:
            found.setdefault(f"first: {name}", cell)
    return found


def lines(tables: dict[str, TaskTable]) -> Iterator[str]:
    """A row a strategy, the best one over the profile first."""
    yield "| strategy | tasks | test, points over the profile: mean | least | most | validation, points | seconds / tuned |"
    yield "|---|---|---|---|---|---|---|"
    rows = []
    named = {name: by_name(table) for name, table in tables.items()}
    for strategy in listed():
        there = [cells for cells in named.values() if strategy in cells and BASE in cells]
        if not there:
            continue
        gains = np.array([np.subtract(chosen(cells[strategy]), chosen(cells[BASE])) for cells in there])
        costs = [c[strategy].spent / c[TUNED].spent for c in there if TUNED in c]
        times = f"{math.exp(np.mean(np.log(costs))):.2f}" if costs else "-"
        test = 100 * gains[:, 1]
        rows.append((
            -float(test.mean()),
            f"| {strategy} | {len(there)} | {test.mean():+.2f} | {test.min():+.1f} | {test.max():+.1f} | "
            f"{100 * gains[:, 0].mean():+.2f} | {times} |",
        ))  # fmt: skip
    yield from (text for _, text in sorted(rows))


def best_of(cells: dict[str, Cell]) -> str:
    """The name of the best by validation."""
    return max(cells, key=lambda name: (chosen(cells[name])[0], -min(cells[name].nll)))


def beyond_lines(tables: dict[str, TaskTable]) -> Iterator[str]:
    """A line a task: what there was to find."""
    for task, table in tables.items():
        cells = by_name(table)
        first = best_of({name: cell for name, cell in cells.items() if name.startswith("first: ")})
        best = best_of(cells)
        validation, test = (100 * d for d in np.subtract(chosen(cells[best]), chosen(cells[first])))
        yield f"{task}: {best} over {first}: validation {validation:+.1f}, test {test:+.1f} points"


def task_lines(tables: dict[str, TaskTable]) -> Iterator[str]:
    """A row a strategy, a column a task; the best of a task by validation is bold."""
    named = {name: by_name(table) for name, table in tables.items()}
    best = {task: best_of(cells) for task, cells in named.items() if cells}
    yield "| strategy | " + " | ".join(named) + " |"
    yield "|---" * (len(named) + 1) + "|"
    for strategy in listed():
        cells = [tasks.get(strategy) for tasks in named.values()]
        if not any(cells):
            continue
        texts = ["" if cell is None else f"{chosen(cell)[1]:.3f}".removeprefix("0") for cell in cells]
        texts = [
            f"**{text}**" if best[task] == strategy else text for task, text in zip(named, texts, strict=True)
        ]
        yield f"| {strategy} | " + " | ".join(texts) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    parser.add_argument("--by-task", action="store_true")
    parser.add_argument("--beyond", action="store_true")
    asked = parser.parse_args()
    try:
        tables = read_all(asked.recorded)
    except TableError as error:
        sys.exit(str(error))
    told = beyond_lines if asked.beyond else task_lines if asked.by_task else lines
    print(*told(tables), sep="\n")


if __name__ == "__main__":
    main()
