"""What a rung tells of the end: how well validation after an epoch orders strategies as they end.

    python benchmarks/table/rungs.py [--recorded FOLDER]

For every epoch, over tasks: Kendall's tau between the best value so far and the best one at the end, and how
often the strategy that ends best is among the best third there; all strategies beside each other, and those with
solved and with fresh heads apart.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent))
import numpy as np
from scipy import stats
from stored import RECORDED, Cell, TableError, TaskTable, read_all

from automl_transfer.domain.dimensions import CLOSED_FORM, SOLVED

FEWEST = 4
"""Strategies of a bracket that can be put in order."""
Bracket = Callable[[Cell], bool]
BRACKETS: dict[str, Bracket] = {
    "all": lambda cell: True,
    "solved heads": lambda cell: cell.strategy.head_init in SOLVED,
    "fresh heads": lambda cell: cell.strategy.head_init not in SOLVED,
}


def told(table: TaskTable, epoch: int, bracket: Bracket) -> tuple[float, bool] | None:
    """Tau of a task's trained strategies after an epoch, and whether the best one is in the best third there."""
    cells = [
        cell
        for cell in table.cells
        if cell.seed == 0 and not cell.failed and cell.strategy.tune_mode != CLOSED_FORM and bracket(cell)
    ]
    if len(cells) < FEWEST:
        return None
    there = np.array([max(cell.validation[:epoch]) for cell in cells])
    end = np.array([max(cell.validation) for cell in cells])
    losses = np.array([min(cell.nll) for cell in cells])
    best = int(np.lexsort((losses, -end))[0])
    kept = int((there > there[best]).sum()) < math.ceil(len(cells) / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(stats.kendalltau(there, end).statistic), kept


def lines(tables: dict[str, TaskTable]) -> Iterator[str]:
    """A row an epoch."""
    epochs = max(int(table.facts["horizon"]["epochs"]) for table in tables.values())
    yield "| epoch | " + " | ".join(f"tau, {name} | best kept" for name in BRACKETS) + " |"
    yield "|---" * (2 * len(BRACKETS) + 1) + "|"
    for epoch in range(1, epochs):
        parts = []
        for bracket in BRACKETS.values():
            found = [one for table in tables.values() if (one := told(table, epoch, bracket)) is not None]
            taus = [tau for tau, _ in found if not math.isnan(tau)]
            parts += [
                f"{np.mean(taus):.2f}" if taus else "-",
                f"{sum(kept for _, kept in found)} of {len(found)}",
            ]
        yield f"| {epoch} | " + " | ".join(parts) + " |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    try:
        tables = read_all(parser.parse_args().recorded)
    except TableError as error:
        sys.exit(str(error))
    print(*lines(tables), sep="\n")


if __name__ == "__main__":
    main()
