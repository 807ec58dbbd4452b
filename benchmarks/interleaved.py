"""Two ways of doing the same, timed in turns in one process: what the machine does meanwhile hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from here import processors


@dataclass(frozen=True)
class Pair:
    """Seconds of both ways in each round."""

    first: list[float]
    second: list[float]

    @property
    def ratios(self) -> list[float]:
        return [one / two for one, two in zip(self.first, self.second, strict=True)]

    @property
    def ratio(self) -> float:
        """Median over rounds of first / second."""
        return statistics.median(self.ratios)

    def row(self, units: int) -> str:
        """Milliseconds a unit of both, and the ratio: median (lowest to highest)."""
        return _row((self.first, self.second), self.ratios, units)


def summary(pairs: Sequence[Pair], units: int) -> tuple[float, str]:
    """The median ratio of several pairs, and their row: medians of the pairs instead of rounds."""
    sides = [
        [statistics.median(taken) for taken in side]
        for side in zip(*((p.first, p.second) for p in pairs), strict=True)
    ]
    ratios = [pair.ratio for pair in pairs]
    return statistics.median(ratios), _row(sides, ratios, units)


def _row(sides: Sequence[Sequence[float]], ratios: Sequence[float], units: int) -> str:
    first, second = (1000 * statistics.median(taken) / units for taken in sides)
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    return f"{first:9.3f} {second:9.3f}  {middle:6.3f}x ({low:.3f} to {high:.3f})  n={len(ratios)}"


def in_turns(first: Callable[[], object], second: Callable[[], object], rounds: int) -> Pair:
    """Time both `rounds` times after one round that warms up; who begins alternates."""
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            (first, second)[which]()
            found[which].append(time.perf_counter() - began)
    return Pair(found[0][1:], found[1][1:])


def machine() -> str:
    """What ran it, in one line."""
    names = processors()
    name = names[0] if names else "unknown CPU"
    return f"{name}, {len(names)} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
