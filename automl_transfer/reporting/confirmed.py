"""What confirmation runs say: accuracy by seeds x images, paired differences, and who may be the best.

The runs of a strategy differ in their seed and in the block of images they are judged on. Two things
make their mean uncertain: which images were drawn, and which seed and training images each run had.
For R runs over N different images the variance of a mean is

    V = E + max(0, S2 / R - E),

E the variance of the mean of per-image results over N, S2 the variance of the R means of the runs
(so S2 / R holds both parts). Student's t with R - 1 degrees of freedom where the second term counts,
with 2 (R - 1) where it does not; docs/ranking.md has the simulated coverage. Differences are taken
image by image, on equal seeds and blocks.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from automl_transfer.domain.evidence import ExtraRun
from automl_transfer.domain.measured import Metric
from automl_transfer.reporting.statistics import Interval

ERROR_RATE = 0.05
"""Over the whole ranking: half for what the validation scores rule out, half for the confirmation."""

Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A mean over runs and images.

    Attributes:
        images: Different ones, over all runs.
    """

    mean: float
    variance: float
    df: float
    runs: int
    images: int

    def interval(self, confidence: float = 0.95) -> Interval:
        """Student's t interval, for differences; of single accuracies `accuracy_interval` is the one."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.df, 0.5 + confidence / 2.0)) * self.variance**0.5
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Arm:
    """A strategy with its confirmation runs by number."""

    root: int
    runs: Mapping[int, ExtraRun]


def arms_of(runs: Iterable[ExtraRun]) -> dict[int, Arm]:
    """Confirmation runs by strategy."""
    found: dict[int, dict[int, ExtraRun]] = {}
    for run in runs:
        if run.kind == "confirm":
            found.setdefault(run.root, {})[run.run] = run
    return {root: Arm(root, dict(sorted(numbered.items()))) for root, numbered in found.items()}


def estimate(arm: Arm, metric: Metric = "accuracy") -> Estimate:
    """The confirmed score of a strategy."""
    if metric != "accuracy":
        return _of_means([run.score(metric) for run in arm.runs.values()], images=_distinct(arm))
    blocks = [(judged, correct.astype(float)) for judged, correct in map(_bits, arm.runs.values())]
    return _of_images(blocks, added=0.0)


def difference(arm: Arm, other: Arm, metric: Metric = "accuracy") -> Estimate | None:
    """The paired difference arm - other over their common runs; None without one.

    Half a success is added to each kind of disagreement before the variance is taken, so that it is
    not zero where two strategies happened to agree (Agresti and Min 2005, Statistics in Medicine 24:729).
    """
    common = [run for run in arm.runs if run in other.runs]
    if not common:
        return None
    if metric != "accuracy":
        gaps = [arm.runs[run].score(metric) - other.runs[run].score(metric) for run in common]
        return _of_means(gaps, images=_distinct(arm))
    blocks = []
    for run in common:
        judged, correct = _bits(arm.runs[run])
        _, others = _bits(other.runs[run])
        blocks.append((judged, correct.astype(float) - others.astype(float)))
    return _of_images(blocks, added=1.0)


def accuracy_interval(found: Estimate) -> Interval:
    """95% interval of an accuracy over seeds and images (Korn and Graubard 1998, Survey Methodology 24:193).

    Clopper and Pearson's interval at the effective number of images, p (1 - p) / V, reduced by
    (z / t)^2 for the few degrees of freedom of V.
    """
    from scipy.special import betaincinv, ndtri, stdtrit

    p, n = found.mean, float(found.images)
    if found.variance > 0.0 and 0.0 < p < 1.0:
        n = min(n, p * (1.0 - p) / found.variance)
    level = 0.975
    n = max(1.0, n * float(ndtri(level) / stdtrit(found.df, level)) ** 2)
    x = p * n
    low = 0.0 if x <= 0.0 else float(betaincinv(x, n - x + 1.0, 1.0 - level))
    high = 1.0 if n - x <= 1e-9 else float(betaincinv(x + 1.0, n - x, level))
    return low, high


def may_be_best(
    arms: Sequence[Arm], looks: int, metric: Metric = "accuracy", error_rate: float = ERROR_RATE / 2.0
) -> list[bool]:
    """Which strategies their confirmation runs cannot rule out as the best (Hsu 1981: MCB).

    A strategy is ruled out when some other one is better by its paired difference, one-sided, at
    error_rate / ((m - 1) looks). Bonferroni over the m - 1 others and over the looks at which a race
    may have stopped training it: the truly best one is ruled out with a probability of at most
    `error_rate`.
    """
    if len(arms) < 2:
        return [True] * len(arms)
    confidence = 1.0 - 2.0 * error_rate / ((len(arms) - 1) * max(1, looks))
    kept = []
    for arm in arms:
        gaps = [difference(other, arm, metric) for other in arms if other is not arm]
        kept.append(not any(g is not None and g.runs > 1 and g.interval(confidence)[0] > 0.0 for g in gaps))
    return kept


def _of_images(blocks: Sequence[tuple[Bits, npt.NDArray[np.float64]]], added: float) -> Estimate:
    """Mean and variance of per-image results; `added` disagreements keep the variance from zero."""
    size = max(len(judged) for judged, _ in blocks)
    total, times = np.zeros(size), np.zeros(size)
    means = []
    for judged, values in blocks:
        total[: len(judged)] += np.where(judged, values, 0.0)
        times[: len(judged)] += judged
        means.append(float(values[judged].mean()))
    seen = times > 0
    each = total[seen] / times[seen]
    n = int(seen.sum())
    wide = n + 2.0 * added
    of_images = float((np.square(each).sum() + added - each.sum() ** 2 / wide) / wide**2)
    runs = len(means)
    if runs == 1:
        return Estimate(float(each.mean()), of_images, max(1.0, n - 1.0), 1, n)
    of_runs = float(np.var(means, ddof=1)) / runs
    extra = max(0.0, of_runs - of_images)
    df = float(runs - 1 if extra > 0.0 else 2 * (runs - 1))
    mean = float(total.sum() / times.sum())
    return Estimate(mean, of_images + extra, df, runs, n)


def _of_means(means: Sequence[float], images: int) -> Estimate:
    """For metrics that are no means over images: the runs alone say how uncertain they are."""
    runs = len(means)
    variance = float(np.var(means, ddof=1)) / runs if runs > 1 else float("inf")
    return Estimate(float(np.mean(means)), variance, float(max(1, runs - 1)), runs, images)


def _distinct(arm: Arm) -> int:
    judged = [_bits(run)[0] for run in arm.runs.values()]
    return int(np.logical_or.reduce(judged).sum())


def _bits(run: ExtraRun) -> tuple[Bits, Bits]:
    judged, correct = (
        np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8)).astype(bool)
        for text in (run.judged, run.correct)
    )
    return judged, correct
