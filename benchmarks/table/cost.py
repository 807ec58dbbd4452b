"""How well a search predicts what a strategy takes: by the program's own model (`search.cost`).

python benchmarks/table/cost.py     how far predictions are off, by how many trainings of the task were seen before
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from stored import Cell, TaskTable, read_all

from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.horizon import Horizon
from automl_transfer.search.cost import Cost

LITE0 = (1.08e7, 2.09e7, 7.58e7, 1.14e8, 1.57e8, 2.43e8, 3.34e8, 3.64e8, 3.84e8)
"""`cache_plan.multiply_adds_by_group` of EfficientNet-Lite0 at 224 pixels, of which the table has all trainings."""
RATE = 1e10
"""Multiply-adds a second of one thread, about."""
SEEN, DRAWS = (0, 3, 6, 12, 24), 20


def cost_of(table: TaskTable) -> Cost:
    """What a search on this task has, before its first trial."""
    facts = table.facts
    splits, horizon = facts["splits"], Horizon(**facts["horizon"])
    area = (facts["resolution"] / 224) ** 2
    sizes = tuple(each * area for each in LITE0)
    return Cost(splits["train"], splits["validation"], horizon, lambda source: sizes, RATE)


def trained(table: TaskTable) -> list[Cell]:
    """Cells that can teach, and be predicted."""
    return [c for c in table.cells if c.strategy.tune_mode != CLOSED_FORM and not c.failed and c.seed == 0]


def errors(table: TaskTable, seen: int, seed: int) -> list[float]:
    """|log(predicted / measured)| of a task's trainings but for the `seen` that were learnt from.

    Before any was seen predictions are only good for comparisons: what all are off together is left out.
    """
    cells = trained(table)
    order = np.random.default_rng([seed, seen]).permutation(len(cells))
    cost = cost_of(table)
    for number in order[:seen]:
        cost.learn(int(number), cells[number].strategy, cells[number].spent)
    logs = [math.log(cost.seconds(cells[at].strategy) / cells[at].spent) for at in order[seen:]]
    level = 0.0 if seen or not logs else float(np.median(logs))
    return [abs(each - level) for each in logs]


def line(tables: Sequence[TaskTable], seen: int) -> str:
    """How far off, over tasks that have more trainings."""
    enough = [table for table in tables if len(trained(table)) > seen]
    found = [e for table in enough for seed in range(DRAWS if seen else 1) for e in errors(table, seen, seed)]
    if not found:
        return f"after {seen} trainings: no task has more"
    half, most = (math.exp(float(np.quantile(found, share))) for share in (0.5, 0.9))
    return f"after {seen} trainings: a factor of {half:.2f}, 90% within {most:.2f} ({len(enough)} tasks)"


def main() -> None:
    tables = list(read_all().values())
    for seen in SEEN:
        print(line(tables, seen))


if __name__ == "__main__":
    main()
