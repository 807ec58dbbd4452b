"""What a strategy costs, predicted from what it is; and draws chosen by expected improvement a second.

python benchmarks/table/cost.py     how far predictions are off, on tasks that nothing was learnt from
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from near import Nearest
from scipy import stats
from stored import Cell, TaskTable, read_all

from automl_transfer.domain.dimensions import CLOSED_FORM, is_pretrained
from automl_transfer.domain.strategy import Strategy
from automl_transfer.store.values import TrialDraft

if TYPE_CHECKING:
    from simulate import Replay

TRIED = 4
"""Draws of which one is trained."""
REACH = 4.0
"""Distance (`near`) at which half of what one strategy had says nothing of another."""


def features(strategy: Strategy, facts: dict[str, Any]) -> list[float]:
    """What the seconds of a whole training depend on."""
    values = strategy.model_dump()
    kept = strategy.truncation / 8
    frozen = _frozen(strategy) if is_pretrained(values) else 0.0
    drawn = strategy.crop < 1 or strategy.mirror or strategy.distort != "none" or strategy.mix == "cutmix"
    images = facts["splits"]["train"] * facts["horizon"]["passes"] * facts["horizon"]["epochs"]
    return [
        1.0,
        math.log(images),
        2 * math.log(facts["resolution"] * strategy.resolution_scale),
        math.log(kept),
        1.0 - frozen,
        # What is frozen is passed once, unless each pass sees other pixels.
        float(drawn),
        float(drawn) * frozen,
        math.log(strategy.batch),
        float(strategy.tune_mode in ("norm", "bias", "lora")),
        float(strategy.phases == "lp_ft"),
        float(not is_pretrained(values)),
    ]


def _frozen(strategy: Strategy) -> float:
    if strategy.tune_mode == "head":
        return 1.0
    if strategy.tune_mode == "suffix":
        return strategy.freeze_depth / 8 * strategy.transfer_depth / 8
    return 0.0


def seconds_of(cell: Cell) -> float:
    """CPU seconds of a whole training."""
    return cell.prepared + math.fsum(cell.seconds)


class Cost:
    """Predicts seconds by least squares of their logarithm, with a little shrinkage.

    Args:
        tables: Tasks to learn from.
    """

    def __init__(self, tables: Iterable[TaskTable]) -> None:
        pairs = [(table, cell) for table in tables for cell in table.cells if _is_whole(cell)]
        if not pairs:
            raise ValueError("a cost must be learnt from trained strategies, got none")
        x = np.array([features(cell.strategy, dict(table.facts)) for table, cell in pairs])
        y = np.log([seconds_of(cell) for _, cell in pairs])
        penalty = 0.1 * np.eye(x.shape[1])
        penalty[0, 0] = 0.0
        self._weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)

    def seconds(self, strategy: Strategy, facts: dict[str, Any]) -> float:
        """Of a whole training."""
        return float(np.exp(np.dot(features(strategy, facts), self._weights)))

    def errors(self, table: TaskTable) -> list[float]:
        """|log(predicted / measured)| of a task's cells."""
        return [
            abs(math.log(self.seconds(cell.strategy, dict(table.facts)) / seconds_of(cell)))
            for cell in table.cells
            if _is_whole(cell)
        ]


def _is_whole(cell: Cell) -> bool:
    return cell.strategy.tune_mode != CLOSED_FORM and not cell.failed


def left_one_out(tables: Sequence[TaskTable]) -> dict[str, Cost]:
    """For each task a model that was learnt from the others."""
    return {
        table.name: Cost([other for other in tables if other.name != table.name] or tables)
        for table in tables
    }


def by_improvement(costs: dict[str, Cost] | None) -> Callable[[Callable[[], TrialDraft], Replay], TrialDraft]:
    """Takes the draw with the most expected improvement; with `costs`, a predicted second."""

    def choose(drawn: Callable[[], TrialDraft], replay: Replay) -> TrialDraft:
        tried = [trial for trial in replay.trials.values() if trial.done]
        if len(tried) < 3:
            return drawn()
        drafts = [drawn() for _ in range(TRIED)]
        values = np.array([trial.cell.validation[trial.best()] for trial in tried])
        best, mean, spread = values.max(), np.median(values), max(0.01, float(values.std()))
        known = Nearest([trial.strategy for trial in tried])
        facts = dict(replay.table.facts)

        def worth(draft: TrialDraft) -> float:
            near = 2.0 ** -(known.distances(draft.strategy) / REACH)
            expected = (near @ values + 0.1 * mean) / (near.sum() + 0.1)
            deviation = spread * math.sqrt(1.0 - float(near.max()) * 0.9)
            z = (expected - best) / deviation
            improvement = deviation * (z * stats.norm.cdf(z) + stats.norm.pdf(z))
            seconds = 1.0 if costs is None else costs[replay.table.name].seconds(draft.strategy, facts)
            return float(improvement / seconds)

        return max(drafts, key=worth)

    return choose


def main() -> None:
    """How well seconds are predicted on a task that nothing was learnt from."""
    tables = list(read_all().values())
    costs = left_one_out(tables)
    errors = {table.name: costs[table.name].errors(table) for table in tables}
    for task, found in errors.items():
        off = math.exp(float(np.median(found))) if found else math.nan
        print(f"{task}: off by a factor of {off:.2f}, median of {len(found)} trainings")
    every = [error for found in errors.values() for error in found]
    print(
        f"all: a factor of {math.exp(float(np.median(every))):.2f}, 90% within {math.exp(float(np.quantile(every, 0.9))):.2f}"
    )


if __name__ == "__main__":
    main()
