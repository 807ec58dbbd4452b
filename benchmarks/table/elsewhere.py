"""Recipes that the table itself chooses: for each task those that the other tasks say cover most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from stored import TaskTable
from strategies import listed

import automl_transfer.search.prior as prior

MOST = 7
"""As many as the project has."""
FLEXIBLE = ("profile", "views", "larger")
"""Answers from which nothing is trained: no recipes."""

Recipes = Mapping[str, Mapping[str, Any]]


def chosen_elsewhere(tables: Sequence[TaskTable], left_out: TaskTable) -> Recipes:
    """Greedily, the strategies with the greatest mean over tasks of the best one's value (Feurer et al. 2022).

    A task's values go from 0, its median strategy, to 1, its best one. The task that is left out says nothing.
    """
    laid = {name: changes for name, (answer, changes) in listed().items() if answer not in FLEXIBLE}
    others = [values for table in tables if table.name != left_out.name and (values := _values(table))]
    names = [name for name in laid if any(name in values for values in others)]
    if not names:
        return {}
    points = np.array([[values.get(name, 0.0) for name in names] for values in others])
    reached, chosen = np.zeros(len(others)), list[int]()
    while len(chosen) < min(MOST, len(names)):
        gains = np.maximum(points, reached[:, None]).mean(0)
        gains[chosen] = -1.0
        # Where nothing more is gained, what is good by itself.
        chosen.append(int(np.argmax(gains + 1e-3 * points.mean(0))))
        reached = np.maximum(reached, points[:, chosen[-1]])
    return {names[at]: laid[names[at]] for at in chosen}


def _values(table: TaskTable) -> dict[str, float]:
    best = {cell.name: max(cell.validation) for cell in table.cells if cell.validation and not cell.failed}
    if not best:
        return {}
    top, median = max(best.values()), float(np.median(list(best.values())))
    return {name: max(0.0, (value - median) / max(1e-9, top - median)) for name, value in best.items()}


@contextmanager
def searching_with(recipes: Recipes | None, constants: Mapping[str, float] | None = None) -> Iterator[None]:
    """Within the block the sampler has these recipes (None for its own) and constants of `search.prior`."""
    wanted = {**(constants or {}), **({} if recipes is None else {"PORTFOLIO": recipes})}
    before = {name: getattr(prior, name) for name in wanted}
    try:
        for name, value in wanted.items():
            setattr(prior, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(prior, name, value)
