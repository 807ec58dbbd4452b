"""Which strategies to try first on a new task: a few that together cover what won on earlier ones.

Chosen greedily by the sum over tasks of the best rank among those that are chosen (submodular, so that
greedy is near the best choice: Nemhauser 1978; for portfolios of configurations: Feurer et al. 2022, section
3). What a search tries anyhow, its first answers, is there from the start. Ranks are compared, never scores:
another dataset's accuracy says nothing here.

A strategy is remembered by what it has beside the head that its profile chose: a cut, a grid or a resolution
that were the profile's are left to the profile of the new task, and depths are shares of a network's groups.
So it carries over to other images and other sources.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.strategy import DIMENSIONS, Strategy
from automl_transfer.domain.warm import FirstAnswer
from automl_transfer.knowledge.document import KnownTask

OF_PROFILE = (
    "source", "truncation", "pool", "taps", "resolution_scale", "detail", "ridge_lambda", "normalise",
)  # fmt: skip
"""What a profile chooses."""
OF_TASK = ("mirror", "class_weights")
"""What a task decides: whether mirrored images keep their class, and what its metric counts."""
ALWAYS_OPEN = "ridge_lambda"
"""Of another task's images: a penalty has the scale of their features."""
MOST = 6
"""Strategies of a portfolio."""
CANDIDATES = 40
"""The best so many of a task may be chosen."""
SCRATCH = "scratch"


@dataclass(frozen=True)
class Changes:
    """A strategy as it carries over.

    Attributes:
        core: Dimension to value, of those that have an effect and that no profile chooses.
        apart: Those that the profile chooses, and where this strategy has another value.
        mirror: Whether images are mirrored, where they may be.
    """

    core: tuple[tuple[str, Any], ...]
    apart: tuple[tuple[str, Any], ...]
    mirror: bool

    @classmethod
    def of(cls, strategy: Strategy, solved: Strategy | None) -> Changes:
        """What a strategy has beside the head that was solved there."""
        active = strategy.active()
        core = {n: v for n, v in active.items() if n not in OF_PROFILE and n not in OF_TASK}
        apart = {}
        if solved is not None:
            there = solved.model_dump(mode="json")
            apart = {name: value for name, value in _chosen(active).items() if value != there[name]}
        elif not strategy.pretrained:
            apart = {"source": strategy.source}
        return cls(tuple(core.items()), tuple(apart.items()), bool(active.get("mirror", False)))

    def onto(self, solved: Mapping[str, Any], *, mirrors: bool, balanced: bool) -> Strategy:
        """The strategy on another task: with what its profile chose, and as its images and metric want it.

        Raises:
            ValueError: These values do not fit together.
        """
        defaults = {name: dimension.default for name, dimension in DIMENSIONS.items()}
        own = {"mirror": self.mirror and mirrors, "class_weights": balanced}
        return Strategy.of({**defaults, **dict(solved), **dict(self.core), **own, **dict(self.apart)})

    def is_that_of(self, tried: Tried) -> bool:
        """Whether a strategy of an earlier task is this one, laid onto that task's profile."""
        if self.core != tried.changes.core:
            return False
        wanted = dict(self.apart)
        return all(wanted.get(n, tried.solved.get(n, v)) == v for n, v in tried.chosen.items())


@dataclass(frozen=True)
class Tried:
    """A strategy on an earlier task.

    Attributes:
        chosen: What it has of what a profile chooses.
        solved: What that task's profile chose.
    """

    changes: Changes
    rank: float
    answer: FirstAnswer | None
    chosen: Mapping[str, Any]
    solved: Mapping[str, Any]
    trains: bool


@dataclass(frozen=True)
class Earlier:
    """An earlier task.

    Attributes:
        known: What is known of it.
        name: What to call it here.
        origin: Where that is known from: "this store", "shipped" or "imported".
    """

    known: KnownTask
    name: str
    origin: str
    tried: tuple[Tried, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, known: KnownTask, name: str, origin: str) -> Earlier:
        """With its strategies as they carry over. They must be readable (`reading.usable`)."""
        solved = None if known.solved is None else known.solved.strategy()
        there = {} if solved is None else _chosen(solved.active())
        tried = []
        for each in known.strategies:
            strategy = each.strategy.strategy()
            tried.append(
                Tried(
                    changes=Changes.of(strategy, solved),
                    rank=each.rank,
                    answer=each.answer,
                    chosen=_chosen(strategy.active()),
                    solved=there,
                    trains=strategy.tune_mode != CLOSED_FORM,
                )
            )
        return cls(known, name, origin, tuple(tried))

    def rank_of(self, changes: Changes) -> float | None:
        """Of a strategy; None where it was not tried."""
        alike = self._by_core.get(changes.core, ())
        return max((each.rank for each in alike if changes.is_that_of(each)), default=None)

    @functools.cached_property
    def _by_core(self) -> dict[tuple[tuple[str, Any], ...], list[Tried]]:
        found: dict[tuple[tuple[str, Any], ...], list[Tried]] = {}
        for each in self.tried:
            found.setdefault(each.changes.core, []).append(each)
        return found


@dataclass(frozen=True)
class Chosen:
    """A strategy of a portfolio.

    Attributes:
        strategy: On the new task.
        rank: Its mean rank over the tasks where it was tried.
        tasks: How many these are.
        best_on: The task where it was best.
    """

    strategy: Strategy
    rank: float
    tasks: int
    best_on: str


@dataclass(frozen=True)
class Portfolio:
    """What was chosen, in the order in which to try it.

    Attributes:
        left_out: Candidates that would have been chosen among the first, but that the space does not admit.
    """

    chosen: tuple[Chosen, ...]
    left_out: int


def choose(
    earlier: Sequence[Earlier],
    weights: Sequence[float],
    lay: Callable[[Changes], Strategy | None],
    tried_anyhow: frozenset[str],
    most: int = MOST,
) -> Portfolio:
    """A portfolio for a new task.

    Args:
        earlier: Earlier tasks.
        weights: How much each counts.
        lay: A candidate on the new task; None where its space does not admit it.
        tried_anyhow: Keys of strategies that need no place: the first answers.
        most: Strategies at most.
    """
    total = sum(weights) or 1.0
    share = [weight / total for weight in weights]
    # What the first answers came to there, they are expected to come to here.
    reached = [max((t.rank for t in task.tried if t.answer is not None), default=0.0) for task in earlier]
    pool = _candidates(earlier)
    points = _ranks(pool, earlier)
    chosen: list[Chosen] = []
    left_out = 0
    while pool and len(chosen) < most:
        best = max(pool, key=lambda c: _worth(points[c], reached, share))
        pool.remove(best)
        known = points[best]
        if not any(share[at] > 0.0 and rank > reached[at] for at, rank in known.items()):
            break
        strategy = lay(best)
        if strategy is None:
            left_out += 1
            continue
        if strategy.key() in tried_anyhow or any(strategy.key() == c.strategy.key() for c in chosen):
            continue
        for at, rank in known.items():
            reached[at] = max(reached[at], rank)
        chosen.append(_told(strategy, known, earlier))
    return Portfolio(tuple(chosen), left_out)


def of_scratch(earlier: Sequence[Earlier], lay: Callable[[Changes], Strategy | None]) -> Chosen | None:
    """Of the ways to train from scratch that the space admits, the best one over all tasks."""
    laid = {
        changes: strategy
        for changes in _candidates(earlier)
        if str(dict(changes.apart).get("source", "")).startswith(SCRATCH) and (strategy := lay(changes))
    }
    ranked = _ranks(list(laid), earlier)
    found = [_told(strategy, ranked[changes], earlier) for changes, strategy in laid.items()]
    return max(found, key=lambda each: (each.rank * each.tasks, each.strategy.key()), default=None)


_Ranks = dict[int, float]
"""A strategy's rank by the position of the task; only where it was tried, which is on few tasks."""


def _ranks(pool: Sequence[Changes], earlier: Sequence[Earlier]) -> dict[Changes, _Ranks]:
    there: dict[tuple[tuple[str, Any], ...], list[int]] = {}
    for at, task in enumerate(earlier):
        for core in {each.changes.core for each in task.tried}:
            there.setdefault(core, []).append(at)
    return {
        changes: {
            at: rank
            for at in there.get(changes.core, ())
            if (rank := earlier[at].rank_of(changes)) is not None
        }
        for changes in pool
    }


def _told(strategy: Strategy, known: _Ranks, earlier: Sequence[Earlier]) -> Chosen:
    best_on = max((rank, earlier[at].name) for at, rank in known.items())[1]
    return Chosen(strategy, round(sum(known.values()) / len(known), 4), len(known), best_on)


def _worth(known: _Ranks, reached: Sequence[float], share: Sequence[float]) -> float:
    """What a candidate adds to the sum of best ranks; where several add as much, what is good by itself."""
    gain = sum(share[at] * max(0.0, rank - reached[at]) for at, rank in known.items())
    return gain + 1e-3 * sum(share[at] * rank for at, rank in known.items())


def _candidates(earlier: Sequence[Earlier]) -> list[Changes]:
    found: dict[Changes, None] = {}
    for task in earlier:
        best = sorted((t for t in task.tried if t.trains), key=lambda t: -t.rank)[:CANDIDATES]
        found.update(dict.fromkeys(t.changes for t in best))
    return list(found)


def _chosen(active: Mapping[str, Any]) -> dict[str, Any]:
    """Of the dimensions that have an effect those that a profile chooses."""
    return {name: active[name] for name in OF_PROFILE if name in active and name != ALWAYS_OPEN}
