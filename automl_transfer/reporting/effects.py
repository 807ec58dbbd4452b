"""Which choices go with better scores: differences of means by family, importance, partial dependence.

A study's scores at its last epoch are censored: only trials that were not pruned have one. So everything
here looks at the deepest epoch that most trials reached (`outcomes`), where all of them compare. The
sampler does not draw at random: what it liked, it tried more often, with other choices that it liked.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.reporting.statistics import Interval
from automl_transfer.reporting.study_report import StudyReport

REACHED = 0.8
FEWEST = 3
"""Trials on either side of a comparison, below which nothing is said."""


@dataclass(frozen=True)
class Outcomes:
    """Scores that compare: of every trial that reached `epoch`, at that epoch."""

    epoch: int
    trials: tuple[tuple[TrialRecord, float], ...]


@functools.lru_cache(maxsize=8)
def outcomes(report: StudyReport) -> Outcomes:
    """The scores at the deepest epoch that four of five trained strategies reached."""
    latest: dict[int, TrialRecord] = {}
    for record in report.records:
        trained = record.strategy is not None and record.epochs and record.epochs[-1].epoch > 0
        if trained and record.state is not TrialState.WAITING:
            latest[record.root] = record
    if not latest:
        return Outcomes(0, ())
    depths = sorted(record.epochs[-1].epoch for record in latest.values())
    epoch = depths[len(depths) - math.ceil(round(REACHED * len(depths), 9))]
    found = []
    for record in latest.values():
        score = next((e.score(report.metric) for e in record.epochs if e.epoch == epoch), None)
        if score is not None:
            found.append((record, score))
    return Outcomes(epoch, tuple(found))


@dataclass(frozen=True)
class Effect:
    """Mean score of the trials at one level of a choice, minus that of all other trials.

    Attributes:
        interval: 95%, Welch's t; for this one comparison, not for all of them together.
        best: The best validation score of the whole study at this level.
    """

    choice: str
    level: str
    trials: int
    difference: float
    interval: Interval
    best: float


@functools.lru_cache(maxsize=20_000)
def _active(strategy: Strategy) -> Mapping[str, Any]:
    return strategy.active()


def _eighths(value: int) -> str:
    if value in (0, 8):
        return "none" if value == 0 else "all"
    return "1/8 to 4/8" if value <= 4 else "5/8 to 7/8"


def _cut(value: int) -> str:
    if value == 8:
        return "whole network"
    return "cut after 1/8 to 4/8" if value <= 4 else "cut after 5/8 to 7/8"


def _freezes(strategy: Strategy) -> str | None:
    if strategy.tune_mode == "head":
        return "all but the head"
    frozen = _active(strategy).get("freeze_depth")
    if frozen is None:
        return "none" if strategy.tune_mode in ("full", "body") else None
    return _eighths(int(frozen))


def family_of(strategy: Strategy) -> str:
    """What of the network a strategy trains, in one word or three."""
    if not strategy.pretrained:
        return "from scratch"
    if strategy.tune_mode == "closed_form":
        return "closed form"
    if strategy.tune_mode == "head":
        return "head only"
    if strategy.tune_mode in ("norm", "bias"):
        return "norm or bias"
    return "part frozen" if _active(strategy).get("freeze_depth", 0) else "all trained"


CHOICES: dict[str, Callable[[Strategy], str | None]] = {
    "source": lambda s: s.source,
    "truncation": lambda s: _cut(s.truncation),
    "transfer depth": lambda s: _eighths(s.transfer_depth) if s.pretrained else "from scratch",
    "freeze depth": _freezes,
    "rest initialised": lambda s: _active(s).get("rest_init"),
    "head initialised": lambda s: _active(s).get("head_init"),
}
"""The families of a strategy: what it is at each choice; None where the choice has no effect in it."""


@functools.lru_cache(maxsize=8)
def effects(report: StudyReport) -> tuple[Effect, ...]:
    """Every level of every choice that has enough trials on both sides."""
    found = outcomes(report).trials
    best: dict[tuple[str, str], float] = {}
    for record in report.complete:
        for choice, level_of in CHOICES.items():
            level = level_of(record.strategy) if record.strategy else None
            if level is not None:
                best[choice, level] = max(best.get((choice, level), 0.0), report.score(record) or 0.0)
    found_effects = []
    for choice, level_of in CHOICES.items():
        levels: dict[str, list[float]] = {}
        for record, score in found:
            assert record.strategy is not None
            level = level_of(record.strategy)
            if level is not None:
                levels.setdefault(level, []).append(score)
        if len(levels) < 2:
            continue
        for level, scores in sorted(levels.items()):
            others = [score for other, each in levels.items() if other != level for score in each]
            if len(scores) < FEWEST or len(others) < FEWEST:
                continue
            difference, interval = welch(scores, others)
            found_effects.append(
                Effect(choice, level, len(scores), difference, interval, best.get((choice, level), math.nan))
            )
    return tuple(found_effects)


def welch(scores: Sequence[float], others: Sequence[float]) -> tuple[float, Interval]:
    """Difference of two means with Welch's 95% interval (Welch 1947, Biometrika 34:28).

    >>> difference, (low, high) = welch([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0])
    >>> round(difference, 3), round(low, 3), round(high, 3)
    (-1.5, -5.458, 2.458)
    """
    from scipy.special import stdtrit

    def moments(values: Sequence[float]) -> tuple[float, float, int]:
        n = len(values)
        mean = math.fsum(values) / n
        return mean, math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n, n

    mean, variance, n = moments(scores)
    other_mean, other_variance, other_n = moments(others)
    total = variance + other_variance
    if total == 0.0:
        return mean - other_mean, (mean - other_mean, mean - other_mean)
    df = total**2 / (variance**2 / (n - 1) + other_variance**2 / (other_n - 1))
    half = float(stdtrit(df, 0.975)) * total**0.5
    return mean - other_mean, (mean - other_mean - half, mean - other_mean + half)
