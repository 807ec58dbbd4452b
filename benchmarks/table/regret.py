"""How good replays are: regret between a task's best strategy and its median one, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from simulate import Incumbent, at_time, horizon_seconds, seconds_until
from stored import TaskTable

ENOUGH = 0.05
"""The regret that a search is to come to."""


@dataclass(frozen=True)
class Scale:
    """What regret is measured by on a task: the best strategy's figures and the median ones.

    Attributes:
        seconds: Of a whole training of the median strategy.
    """

    best_validation: float
    best_test: float
    median_validation: float
    median_test: float
    seconds: float

    @classmethod
    def of(cls, table: TaskTable) -> Scale:
        """The best is that of the whole table, as a search would choose it."""
        ends = []
        for cell in table.cells:
            epochs = range(len(cell.seconds))
            best = max(epochs, key=lambda e: (cell.validation[e], -cell.nll[e], -e), default=None)
            if best is not None and not cell.failed:
                ends.append((cell.validation[best], -cell.nll[best], cell.test[best]))
        validation, _, test = max(ends)
        medians = [float(np.median([end[place] for end in ends])) for place in (0, 2)]
        return cls(validation, test, *medians, horizon_seconds(table))

    @property
    def tells(self) -> bool:
        """Whether the best strategy is better than the median one on both splits."""
        return self.best_validation > self.median_validation and self.best_test > self.median_test

    def regret(self, incumbent: Incumbent | None, of: str) -> float:
        """From 0 to 1; `of` is validation or test."""
        if incumbent is None:
            return 1.0
        best, median = getattr(self, f"best_{of}"), getattr(self, f"median_{of}")
        return min(1.0, max(0.0, (best - getattr(incumbent, of)) / (best - median)))

    def is_enough(self, incumbent: Incumbent, of: str = "validation") -> bool:
        """Whether its regret is at most .05."""
        return self.regret(incumbent, of) <= ENOUGH

    @property
    def enough(self) -> float:
        """The validation score that has regret .05."""
        return self.best_validation - ENOUGH * (self.best_validation - self.median_validation)


@dataclass
class Replays:
    """All replays of an arm on a task."""

    scale: Scale
    budget: float
    incumbents: list[list[Incumbent]] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)
    complete: list[int] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)

    def until(self, of: str) -> np.ndarray:
        """Seconds until regret .05, or the budget."""
        found = [seconds_until(path, lambda one: self.scale.is_enough(one, of)) for path in self.incumbents]
        return np.minimum(found, self.budget)

    def reached(self, of: str) -> float:
        """Share of replays that came there."""
        return float(np.mean(self.until(of) < self.budget))

    def regrets(self, trainings: float, of: str) -> np.ndarray:
        """After so many whole trainings' time."""
        moment = trainings * self.scale.seconds
        return np.array([self.scale.regret(at_time(path, moment), of) for path in self.incumbents])


def soonest(table: TaskTable, target: float) -> float:
    """Seconds until somebody is there who knows beforehand what to train; the profile is looked at first."""
    there = [cell.spent for cell in table.cells if not cell.failed and max(cell.validation) >= target - 1e-9]
    return float(table.facts["answer_seconds"]["profile"]) + min(there)


def log_mean(values: np.ndarray) -> float:
    return float(np.mean(np.log(np.maximum(values, 1e-3))))


def ratio(ours: list[np.ndarray], theirs: list[np.ndarray], draws: int = 1000) -> tuple[float, float, float]:
    """Geometric mean over tasks and seeds of ours / theirs, with its 95% interval over seeds."""
    generator = np.random.default_rng(0)

    def once(resampled: bool) -> float:
        logs = []
        for mine, other in zip(ours, theirs, strict=True):
            if resampled:
                mine, other = (generator.choice(values, len(values)) for values in (mine, other))
            logs.append(log_mean(mine) - log_mean(other))
        return math.exp(float(np.mean(logs)))

    low, high = np.quantile([once(True) for _ in range(draws)], [0.025, 0.975])
    return once(False), float(low), float(high)


def interval(values: list[np.ndarray], draws: int = 1000) -> tuple[float, float, float]:
    """Mean over tasks and seeds, with its 95% interval over seeds."""
    generator = np.random.default_rng(0)
    means = [np.mean([generator.choice(task, len(task)).mean() for task in values]) for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([task.mean() for task in values])), float(low), float(high)
