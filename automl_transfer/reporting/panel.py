"""Strategies that were trained again, compared: who is ahead, by how much, and who may still be the best.

A panel is a table of strategies x runs, of which cells may be missing; a cell is one training, judged on
the same block of images for every strategy. The model is additive, with what is left over random:

    y_sri = m_s + a_i + b_r + g_sr + e_si,

for strategy s, run r and image i: m the accuracies that are asked for, a and b how hard the image and how
good the run is for all, g what a run does to one strategy as a whole, e what an image does to it. Two
strategies differ by least squares over all cells, so that a and b drop out. The variance of that is

    V = v / N + 2 max(MS - w / n, LEAST^2) / R,

v the variance of the two strategies' difference on one of the N images that both were judged on, MS the
mean square of what is left of the table of run means (pooled over strategies), w / n the part of it that n
images of a cell explain, R their common runs. A few runs cannot show that g is small: half a point of it is
taken for granted. The two parts have N - 1 and the table's degrees of freedom; V has Satterthwaite's (1946,
Biometrics Bulletin 2:110). Where images come in groups, sums over groups stand for images, and N - 1 is one
less than the groups. `docs/ranking.md` has how often this is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from automl_transfer.domain.measured import Metric
from automl_transfer.reporting.confirmed import BY_VALIDATION, ERROR_RATE, Arm, Estimate, cells_of
from automl_transfer.reporting.statistics import Groups, spent_levels, sums_of_groups, variance_of_mean

LEAST_SPREAD = 0.005
"""What a run does to one strategy as a whole has at least this standard deviation; recorded ones had less."""

Floats = npt.NDArray[np.float64]


class Panel:
    """Some strategies with at least one run each.

    Args:
        arms: Without two of one root.
        metric: What they are compared by.
        groups: Which group each image of the pool belongs to; None where each is drawn by itself.
    """

    def __init__(
        self, arms: Sequence[Arm], metric: Metric = "accuracy", groups: Groups | None = None
    ) -> None:
        self.groups = groups
        self.arms = tuple(arms)
        self.roots = tuple(arm.root for arm in arms)
        self.metric = metric
        self._cells = cells_of(arms, metric)
        self._numbers = {arm.root: tuple(arm.runs) for arm in arms}

    @cached_property
    def standing(self) -> Mapping[int, float]:
        """What orders strategies, higher is better: means over the same runs, by least squares.

        Over all images, those that chose the candidates included: candidates are compared with candidates.
        """
        return self._table.means

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Roots, the best first; equal ones as they were given."""
        return tuple(sorted(self.roots, key=lambda root: (-self.standing[root], self.roots.index(root))))

    @cached_property
    def flattery(self) -> float:
        """By how much the best looks too good for having been chosen among several by these runs.

        Each run is judged once more by the strategy that the other runs choose, and that is how much worse it
        does than the one which all of them choose: no run then judges what it helped to choose (as in nested
        cross-validation; Tibshirani and Tibshirani 2009, Annals of Applied Statistics 3:822).
        """
        best = self.order[0]
        lost = []
        for number in self._numbers[best]:
            others = {key: cell.score for key, cell in self._cells.items() if key[1] != number}
            means = _least_squares(others).means
            choice = [root for root in self.order if root in means and (root, number) in self._cells]
            chosen = max(choice, key=lambda root: means[root], default=best)
            lost.append(self._cells[best, number].unseen_score - self._cells[chosen, number].unseen_score)
        return max(0.0, float(np.mean(lost)))

    def score(self, root: int) -> Estimate:
        """The confirmed score of a strategy: its mean on images that did not choose it, less the flattery.

        Means are over all runs of the panel; one that a strategy lacks is made up for by those that it has,
        as least squares do. The variance is that of its images, or that of its runs, which holds both, where
        that is larger: with the degrees of freedom of that one.
        """
        mean = min(1.0, max(0.0, self._table_of_unseen.means[root] - self.flattery))
        spread, df = self._spread
        cells = [self._cells[root, number] for number in self._numbers[root]]
        rows, each = _by_image([(cell.rows[cell.unseen], cell.right[cell.unseen]) for cell in cells])
        if self.metric != "accuracy":  # no mean over images: runs alone say how uncertain it is
            variance = spread / len(cells) if df else float("inf")
            return Estimate(mean, variance, max(1.0, df), len(cells), len(each))
        of_images, of_images_df = variance_of_mean(each, self._groups_of(rows))
        of_both = spread / len(cells)
        if of_both <= of_images:
            return Estimate(mean, of_images, max(1.0, of_images_df), len(cells), len(each))
        return Estimate(mean, of_both, df, len(cells), len(each))

    def judged(self, root: int) -> int:
        """Different images that a strategy was judged on, over all runs."""
        rows = [self._cells[root, number].rows for number in self._numbers[root]]
        return len(np.unique(np.concatenate(rows)))

    def gap(self, root: int, other: int) -> Estimate | None:
        """By how much a strategy is ahead of another one; None where they have no run in common.

        Half a success is added to each kind of disagreement before the variance is taken, so that it is not
        zero where two strategies happened to agree (Agresti and Min 2005, Statistics in Medicine 24:729).
        """
        common = [number for number in self._numbers[root] if number in self._numbers[other]]
        if not common:
            return None
        mean, runs = self.standing[root] - self.standing[other], len(common)
        pairs = [(self._cells[root, number], self._cells[other, number]) for number in common]
        rows, each = _by_image([(cell.rows, cell.right - others.right) for cell, others in pairs])
        table = self._table
        if self.metric != "accuracy":
            # Few images give few different scores: equal differences do not show that there is no spread.
            spread = max(table.mean_square, self._of_images + LEAST_SPREAD**2)
            variance = 2.0 * spread / runs if table.df else float("inf")
            return Estimate(mean, variance, float(max(1, table.df)), runs, len(each))
        wide, groups = len(each) + 2.0, self._groups_of(rows)
        if groups is None:
            of_images = float((np.square(each).sum() + 1.0 - each.sum() ** 2 / wide) / wide**2)
            images_df = len(each) - 1
        else:
            sums = sums_of_groups(each - each.mean(), groups)
            images_df = len(sums) - 1
            if not images_df:
                return Estimate(mean, float("inf"), 1.0, runs, len(each))
            of_images = float(np.square(sums).sum() + 1.0) / wide**2 * len(sums) / images_df
        return _sum(mean, (of_images, images_df), 2.0 * self._of_runs / runs, table.df, runs, len(each))

    def kept(self, most_runs: int, error_rate: float = ERROR_RATE - BY_VALIDATION) -> list[bool]:
        """Which strategies cannot be ruled out as the best (Hsu 1981: MCB), in the order given.

        A strategy is ruled out when some other one is ahead of it, one-sided, at the level that
        `spent_levels` gives a look at so many of `most_runs` runs, for an error rate divided by the m - 1
        others (Bonferroni): the truly best one is ruled out with a probability of at most `error_rate`,
        although a race looks after every round.
        """
        if len(self.roots) < 2:
            return [True] * len(self.roots)
        most = max(most_runs, *map(len, self._numbers.values()))
        levels = spent_levels(most, error_rate / (len(self.roots) - 1))
        return [not any(self._is_behind(root, other, levels) for other in self.roots) for root in self.roots]

    def _is_behind(self, root: int, other: int, levels: Mapping[int, float]) -> bool:
        if self.standing[other] <= self.standing[root]:
            return False
        gap = self.gap(other, root)
        return gap is not None and gap.runs > 1 and gap.interval(1.0 - 2.0 * levels[gap.runs])[0] > 0.0

    def _groups_of(self, rows: npt.NDArray[np.intp]) -> Groups | None:
        return None if self.groups is None else self.groups[rows]

    @cached_property
    def _table(self) -> _Fit:
        return _least_squares({key: cell.score for key, cell in self._cells.items()})

    @cached_property
    def _table_of_unseen(self) -> _Fit:
        return _least_squares({key: cell.unseen_score for key, cell in self._cells.items()})

    @cached_property
    def _spread(self) -> tuple[float, float]:
        """The variance of one run's score on unseen images, pooled over strategies; its degrees of freedom.

        Runs of several strategies on one block are alike by what block and training images do to all: the
        degrees of freedom are between those of one strategy and those of all, by Satterthwaite's rule.
        """
        squares, free = 0.0, 0
        for root, numbers in self._numbers.items():
            scores = np.array([self._cells[root, number].unseen_score for number in numbers])
            squares += float(np.square(scores - scores.mean()).sum())
            free += len(scores) - 1
        if not free:
            return 0.0, 0.0
        pooled, table = squares / free, self._table_of_unseen
        own = min(pooled, table.mean_square * table.df / free)
        parts = (pooled - own) ** 2 / max(1, free - table.df) + own**2 / max(1, table.df)
        return pooled, pooled**2 / parts if parts else float(free)

    @cached_property
    def _of_images(self) -> float:
        """The part of the mean square that a cell's images explain, by what is right; 0 where unknown."""
        explained, weights = [], []
        for number in {number for _, number in self._cells}:
            cells = [self._cells[key] for key in self._cells if key[1] == number]
            rights, groups = np.array([cell.right for cell in cells]), self._groups_of(cells[0].rows)
            count, n = rights.shape
            if count > 1 and n > 1:
                left = rights - rights.mean(axis=0) - rights.mean(axis=1, keepdims=True) + rights.mean()
                sums = np.array([sums_of_groups(each, groups) for each in left])
                drawn = sums.shape[1]
                if drawn > 1:
                    explained.append(float(np.square(sums).sum()) / (count - 1) / n**2 * drawn / (drawn - 1))
                    weights.append(count - 1)
        return float(np.average(explained, weights=weights)) if explained else 0.0

    @cached_property
    def _of_runs(self) -> float:
        """The variance of what a run does to one strategy as a whole, pooled over strategies."""
        if not self._table.df:
            return LEAST_SPREAD**2
        return max(LEAST_SPREAD**2, self._table.mean_square - self._of_images)


@dataclass(frozen=True)
class _Fit:
    """Least squares of strategy + run: means of strategies over all runs, and what is left over."""

    means: Mapping[int, float]
    mean_square: float
    df: int


def _least_squares(values: Mapping[tuple[int, int], float]) -> _Fit:
    roots = list(dict.fromkeys(root for root, _ in values))
    numbers = sorted({number for _, number in values})
    design = np.zeros((len(values), len(roots) + len(numbers)))
    for row, (root, number) in enumerate(values):
        design[row, roots.index(root)] = 1.0
        design[row, len(roots) + numbers.index(number)] = 1.0
    y = np.array(list(values.values()))
    found, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    level = float(found[len(roots) :].mean()) if numbers else 0.0
    df = len(values) - int(rank)
    rest = float(np.square(y - design @ found).sum())
    means = {root: float(found[place]) + level for place, root in enumerate(roots)}
    return _Fit(means, rest / df if df else 0.0, df)


def _by_image(blocks: Sequence[tuple[npt.NDArray[np.intp], Floats]]) -> tuple[npt.NDArray[np.intp], Floats]:
    """(N,) places in the pool of the different images, and the mean of each."""
    rows = np.concatenate([rows for rows, _ in blocks])
    values = np.concatenate([values for _, values in blocks])
    times = np.bincount(rows)
    totals = np.bincount(rows, weights=values)
    found: Floats = totals[times > 0] / times[times > 0]
    return np.flatnonzero(times), found


def _sum(
    mean: float, of_images: tuple[float, int], of_runs: float, run_df: float, runs: int, images: int
) -> Estimate:
    """An estimate whose variance has two parts, with Satterthwaite's degrees of freedom."""
    variance, images_df = of_images[0] + of_runs, max(1, of_images[1])
    parts = of_images[0] ** 2 / images_df + of_runs**2 / max(1.0, run_df)
    df = variance**2 / parts if parts else float(images_df)
    return Estimate(mean, variance, df, runs, images)
