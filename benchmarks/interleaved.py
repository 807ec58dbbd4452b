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
        each = [1000 * statistics.median(taken) / units for taken in (self.first, self.second)]
        low, high = min(self.ratios), max(self.ratios)
        return f"{each[0]:9.3f} {each[1]:9.3f}  {self.ratio:6.3f}x ({low:.3f} to {high:.3f})  n={len(self.first)}"


def summary(pairs: Sequence[Pair], units: int) -> tuple[float, str]:
    """The median ratio of several pairs, and a row: milliseconds a unit of both, ratios of the pairs."""
    each = [
        1000 * statistics.median(statistics.median(taken) for taken in side) / units
        for side in ([pair.first for pair in pairs], [pair.second for pair in pairs])
    ]
    ratios = [pair.ratio for pair in pairs]
    found = statistics.median(ratios)
    low, high = min(ratios), max(ratios)
    text = f"{each[0]:9.3f} {each[1]:9.3f}  {found:6.3f}x ({low:.3f} to {high:.3f})  n={len(pairs)}"
    return found, text


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
