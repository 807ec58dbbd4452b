"""What should choose among trials that validation can hardly tell apart: accuracy, likelihood, or one within the other's noise.

    python benchmarks/table/choosing.py

From the recorded table: of twelve strategies of a task, drawn at random, each rule picks one by what it has on
validation; told is the test accuracy of its pick minus that of the most accurate's, in points, the mean over draws.
"se" is the standard error of the best validation accuracy: `accuracy, then nll within 1 se` takes the likeliest of
those that are at most that far behind. Ties of accuracy are broken by likelihood, as a search does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent))
import numpy as np
import numpy.typing as npt
from stored import RECORDED, Cell, TaskTable, read_all
from strongest import kept

DRAWN, DRAWS, FEWEST = 12, 2000, 20

Numbers = npt.NDArray[np.float64]
Rule = Callable[[Numbers, Numbers, float], int]
"""The pick, by accuracies, negative log-likelihoods and the standard error of the best."""


def accurate(accuracy: Numbers, nll: Numbers, error: float) -> int:
    """As a search ranks its trials."""
    return int(np.lexsort((nll, -accuracy))[0])


def likely(accuracy: Numbers, nll: Numbers, error: float) -> int:
    return int(nll.argmin())


def within(errors: float) -> Rule:
    """The likeliest of those that are at most so many standard errors behind."""
    return lambda accuracy, nll, error: int(
        np.where(accuracy >= accuracy.max() - errors * error - 1e-12, nll, np.inf).argmin()
    )


RULES: dict[str, Rule] = {
    "accuracy": accurate,
    "nll": likely,
    **{f"accuracy, then nll within {k:g} se": within(k) for k in (0.25, 0.5, 1.0, 2.0)},
}


def shown(cell: Cell) -> tuple[float, float, float]:
    """Validation accuracy, its likelihood and test accuracy at the best epoch."""
    best = kept(cell)
    return cell.validation[best], cell.nll[best], cell.test[best]


def gains(table: TaskTable, draws: int) -> dict[str, float]:
    """Points of test accuracy of each rule's pick over the most accurate's."""
    by_strategy: dict[str, list[Cell]] = {}
    for cell in table.cells:
        if cell.validation and not cell.failed:
            by_strategy.setdefault(cell.key[0], []).append(cell)
    known = [[shown(cell) for cell in cells] for cells in by_strategy.values()]
    if len(known) < FEWEST:
        return {}
    generator = np.random.default_rng(0)
    images = int(table.facts["splits"]["validation"])
    found: dict[str, list[float]] = {name: [] for name in RULES}
    for _ in range(draws):
        drawn = [known[at] for at in generator.choice(len(known), DRAWN, replace=False)]
        accuracy, nll, test = np.array([cells[generator.integers(len(cells))] for cells in drawn]).T
        top = float(accuracy.max())
        error = float(np.sqrt(max(top * (1.0 - top), 0.25 / images) / images))
        usual = test[accurate(accuracy, nll, error)]
        for name, rule in RULES.items():
            found[name].append(100.0 * float(test[rule(accuracy, nll, error)] - usual))
    return {name: float(np.mean(values)) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    asked = parser.parse_args()
    found = {name: gains(table, asked.draws) for name, table in read_all(asked.recorded).items()}
    tasks = [name for name, values in found.items() if values]
    print("| rule | " + " | ".join(tasks) + " | mean |\n|---" + "|---" * len(tasks) + "|---|")
    for rule in RULES:
        values = [found[task][rule] for task in tasks]
        print(f"| {rule} | " + " | ".join(f"{v:+.2f}" for v in [*values, float(np.mean(values))]) + " |")


if __name__ == "__main__":
    main()
