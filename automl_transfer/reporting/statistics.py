"""Intervals of proportions, and sets of the best. scipy is imported where it is used: it takes a while."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from math import hypot, pi, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]
Groups = npt.NDArray[np.int64]
"""(n,) which group each image belongs to, by number."""


@functools.lru_cache(maxsize=4096)
def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact interval of a proportion (Clopper and Pearson 1934, Biometrika 26:404).

    Never covers less than its level. Wilson's interval is shorter, but near 1, where accuracies are,
    it covers less than it says: 92.1% at p = .99 and n = 100 (docs/ranking.md).

    Args:
        successes: Number of successes, 0 <= successes <= n.
        n: Number of independent draws, at least 1.
        confidence: Two-sided level in (0, 1).

    Raises:
        ValueError: For counts or levels outside these ranges.

    >>> [round(bound, 4) for bound in clopper_pearson(81, 263)]
    [0.2527, 0.3676]
    """
    from scipy.special import betaincinv

    _check_counts(successes, n)
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1.0 - tail))
    return low, high


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927, JASA 22:209).

    Args:
        successes: Number of successes, 0 <= successes <= n.
        n: Number of independent draws, at least 1.
        confidence: Two-sided level in (0, 1).

    Raises:
        ValueError: For counts or levels outside these ranges.

    >>> [round(bound, 4) for bound in wilson(81, 263)]
    [0.2553, 0.3662]
    """
    _check_counts(successes, n)
    z = _quantile(confidence)
    p = successes / n
    scale = 1.0 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z * sqrt(p * (1.0 - p) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def newcombe(
    successes: int, n: int, other_successes: int, other_n: int, confidence: float = 0.95
) -> Interval:
    """Interval of the difference p - p_other of independent proportions.

    Hybrid of the two Wilson intervals (Newcombe 1998, Statistics in Medicine 17:873, method 10): unlike
    the normal approximation it keeps its width where a proportion is near 1. For two models scored on
    the *same* images it is conservative, because their mistakes are positively correlated.

    >>> [round(bound, 4) for bound in newcombe(56, 70, 48, 80)]
    [0.0524, 0.3339]
    """
    p, other = successes / n, other_successes / other_n
    low, high = wilson(successes, n, confidence)
    other_low, other_high = wilson(other_successes, other_n, confidence)
    difference = p - other
    return difference - hypot(p - low, other_high - other), difference + hypot(high - p, other - other_low)


def best_set(successes: list[int], n: int, error_rate: float = 0.05) -> list[bool]:
    """Which of m models, scored on the same n images, cannot be told apart from the best.

    A model stays in the set unless some other model is better at a one-sided level of
    error_rate / (m - 1). The truly best one is then excluded with a probability of at most
    `error_rate`, however the observed best was picked (multiple comparisons with the best: Hsu 1981,
    Annals of Statistics 9:1026; here with Bonferroni's bound in the place of Dunnett's quantile).
    """
    others = len(successes) - 1
    if others < 1:
        return [True] * len(successes)
    best = max(successes)
    confidence = 1.0 - 2.0 * error_rate / others
    # Excluded by any other model implies excluded by the observed best: the interval's lower bound
    # grows with the better model's successes.
    return [newcombe(best, n, each, n, confidence)[0] <= 0.0 for each in successes]


def sums_of_groups(values: npt.NDArray[np.float64], groups: Groups | None) -> npt.NDArray[np.float64]:
    """(G,) sums over the images of each group that occurs; the values themselves without groups."""
    if groups is None:
        return values
    place = np.unique(groups, return_inverse=True)[1].reshape(-1)
    return np.bincount(place, weights=values).astype(np.float64)


def variance_of_mean(values: npt.NDArray[np.float64], groups: Groups | None = None) -> tuple[float, float]:
    """The variance of a mean over images that are drawn in groups, and its degrees of freedom.

    Groups are drawn independently of each other, whatever images of one have in common (linearised ratio
    estimator: Cochran 1977, Sampling Techniques, section 6.6); without groups it is s^2 / n, s^2 over n.
    """
    n = len(values)
    if groups is None:
        return float(values.var()) / n, n - 1.0
    sums = sums_of_groups(values - values.mean(), groups)
    number = len(sums)
    if number < 2:
        return float("inf"), 1.0
    return float(np.square(sums).sum()) / n**2 * number / (number - 1), number - 1.0


def paired_set(
    right: Sequence[npt.NDArray[np.bool_] | None],
    successes: list[int],
    n: int,
    error_rate: float = 0.05,
    groups: Groups | None = None,
) -> list[bool]:
    """The same, where for some models it is known which of the n images they get right.

    Beside the observed best, a model is ruled out by the exact one-sided sign test over the images on which
    the two disagree (McNemar 1947, Psychometrika 12:153), at the level that `best_set` has. That related
    models are right on the same images then costs no power. Where either's images are not known, they are
    compared as independent ones, which is conservative. Where images come in groups, each group counts once,
    for the model that gets more of its images right.

    Args:
        right: Of each model (n,), or None; the first one of the most successes is the observed best.
        successes: How many images each gets right.
        n: Number of images.
        error_rate: Over all comparisons.
        groups: (n,) which group each image belongs to; None where each is drawn by itself.
    """
    from scipy.special import bdtrc

    apart = best_set(successes, n, error_rate)
    if len(successes) < 2:
        return apart
    best = right[successes.index(max(successes))]
    level = error_rate / (len(successes) - 1)
    kept = []
    for bits, before in zip(right, apart, strict=True):
        if best is None or bits is None:
            kept.append(before)
            continue
        gained = sums_of_groups(best.astype(float) - bits, groups)
        ahead, behind = int((gained > 0).sum()), int((gained < 0).sum())
        p = float(bdtrc(ahead - 1, ahead + behind, 0.5)) if ahead else 1.0
        kept.append(p > level)
    return kept


@functools.lru_cache(maxsize=256)
def spent_levels(looks: int, error_rate: float) -> Mapping[int, float]:
    """One-sided levels of looks at 2, 3, ..., `looks` of as many equal parts of the data.

    Together they reject with a probability of `error_rate` where nothing is to be found: at the look at k
    parts, error_rate (k / looks)^2 is spent in all (Lan and DeMets 1983, Biometrika 70:659, with the power
    family of Kim and DeMets 1987, Biometrika 74:149: early looks cost the last one little). Sums of equal
    parts are a Brownian motion, whose density among what no look has rejected is integrated from look to
    look (Armitage, McPherson and Rowe 1969, JRSS A 132:235).

    >>> {parts: round(level, 4) for parts, level in spent_levels(4, 0.02).items()}
    {2: 0.005, 3: 0.0086, 4: 0.0144}
    """
    from scipy.special import ndtr, ndtri

    grid = np.linspace(-8.0 * sqrt(looks), 8.0 * sqrt(looks), 1601)
    step = grid[1] - grid[0]
    one_more = np.exp(-np.square(grid[:, None] - grid) / 2.0) * step / sqrt(2.0 * pi)
    density = np.exp(-np.square(grid) / 4.0) / sqrt(4.0 * pi)
    levels = {2: error_rate * (2.0 / looks) ** 2}
    bound = -float(ndtri(levels[2])) * sqrt(2.0)
    for parts in range(3, looks + 1):
        density = one_more @ np.where(grid > bound, 0.0, density)
        above = (np.cumsum(density[::-1])[::-1] - density / 2.0) * step  # from each point of the grid upwards
        spent = error_rate * (2 * parts - 1) / looks**2  # at this look
        bound = float(np.interp(-spent, -above, grid))
        levels[parts] = float(ndtr(-bound / sqrt(parts)))
    return levels


def _quantile(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2.0)


def _check_counts(successes: int, n: int) -> None:
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"0 <= successes <= n and n >= 1 must hold, got {successes} of {n}")
