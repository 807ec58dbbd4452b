"""Confirmation runs as numbers: which images each strategy was judged on in each run, and which it got."""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from automl_transfer.domain.evidence import ExtraRun, unpack_numbers
from automl_transfer.domain.measured import Metric
from automl_transfer.domain.records import EpochResult
from automl_transfer.domain.task import Task
from automl_transfer.reporting.statistics import Groups, Interval, clopper_pearson, variance_of_mean

ERROR_RATE = 0.05
"""Over the whole ranking: for what the validation scores rule out, and what the confirmation does."""
BY_VALIDATION = 0.005
"""The part of it that validation scores may spend where some strategies are confirmed."""


@dataclass(frozen=True)
class Estimate:
    """A mean over runs and images.

    Attributes:
        variance: Of the mean; infinite where nothing says.
        df: Degrees of freedom of the variance.
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


@dataclass(frozen=True)
class Cell:
    """What a strategy did in a run.

    Attributes:
        rows: (n,) places in the pool of the images that it was judged on.
        right: (n,) 1.0 where the answer was right, else 0.0.
        unseen: (n,) the images among them that the search did not validate on; all where none are known.
        score: Of all of them; `unseen_score` of the unseen ones.
    """

    rows: npt.NDArray[np.intp]
    right: npt.NDArray[np.float64]
    unseen: npt.NDArray[np.bool_]
    score: float
    unseen_score: float


Cells = Mapping[tuple[int, int], Cell]
"""By root and run."""


def arms_of(runs: Iterable[ExtraRun]) -> dict[int, Arm]:
    """Confirmation runs by strategy."""
    found: dict[int, dict[int, ExtraRun]] = {}
    for run in runs:
        if run.kind == "confirm":
            found.setdefault(run.root, {})[run.run] = run
    return {root: Arm(root, dict(sorted(numbered.items()))) for root, numbered in found.items()}


def cells_of(arms: Iterable[Arm], metric: Metric) -> dict[tuple[int, int], Cell]:
    """The runs of some strategies.

    Which images chose the candidates is the same for all runs of a study: runs of earlier versions, that do
    not say, are read as the others say.
    """
    runs = [run for arm in arms for run in arm.runs.values()]
    chose = next((unpacked(run.chose) for run in runs if run.chose), None)
    found = {}
    for run in runs:
        rows = np.flatnonzero(unpacked(run.judged))
        right = unpacked(run.correct)[rows].astype(float)
        unseen = np.ones(len(rows), bool) if chose is None else ~chose[rows]
        if not unseen.any():
            unseen[:] = True
        score = run.score(metric)
        if metric == "accuracy":
            of_unseen = float(right[unseen].mean())
        else:
            of_unseen = score if run.unseen is None else run.unseen.score(metric)
        found[run.root, run.run] = Cell(rows, right, unseen, score, of_unseen)
    return found


def accuracy_interval(found: Estimate) -> Interval:
    """95% interval of an accuracy over seeds and images.

    At the effective number of images, p (1 - p) / V, reduced by (z / t)^2 for the few degrees of freedom of V
    (Korn and Graubard 1998, Survey Methodology 24:193). They put Clopper and Pearson's interval there, which
    covers more than it says; here it is Jeffreys' (Brown, Cai and DasGupta 2001, Statistical Science 16:101,
    section 4.3), which covers 95% on average; it ends at 0 or 1 where no answer is right, or none wrong.
    """
    from scipy.special import betaincinv, ndtri, stdtrit

    p, n = found.mean, float(found.images)
    if found.variance > 0.0 and 0.0 < p < 1.0:
        n = min(n, p * (1.0 - p) / found.variance)
    elif found.variance == 0.0:  # nothing tells how alike images of a group are: each group counts once
        n = min(n, found.df + 1.0)
    level = 0.975
    n = max(1.0, n * float(ndtri(level) / stdtrit(found.df, level)) ** 2)
    x = p * n
    low = 0.0 if x <= 0.0 else float(betaincinv(x + 0.5, n - x + 0.5, 1.0 - level))
    high = 1.0 if n - x <= 1e-9 else float(betaincinv(x + 0.5, n - x + 0.5, level))
    return low, high


def validation_interval(
    accuracy: float, n: int, right: npt.NDArray[np.bool_] | None = None, groups: Groups | None = None
) -> Interval:
    """95% interval of an accuracy on n validation or test images: exact; in groups, as `accuracy_interval`.

    Args:
        accuracy: The share that is right.
        n: Number of images.
        right: (n,) which these are, where that is known.
        groups: (n,) which group each image belongs to; None where each is drawn by itself.
    """
    if right is None or groups is None or len(groups) != n:
        return clopper_pearson(round(accuracy * n), n)
    variance, df = variance_of_mean(right.astype(float), groups)
    return accuracy_interval(Estimate(accuracy, variance, df, 1, n))


def epoch_interval(epoch: EpochResult, task: Task) -> Interval:
    """The same of an epoch of a trial on its validation images."""
    n = task.splits.validation
    return validation_interval(epoch.accuracy, n, unpacked_of(epoch.right, n), validation_groups(task))


def pool_groups(task: Task) -> Groups | None:
    """int64 (n,) which group each image of the pool belongs to; None where nothing is known of groups."""
    return None if task.group_numbers is None else _numbers(task.group_numbers.pool)


def validation_groups(task: Task) -> Groups | None:
    """The same of the validation images."""
    return None if task.group_numbers is None else _numbers(task.group_numbers.validation)


@functools.lru_cache(maxsize=8)
def _numbers(packed: str) -> Groups:
    return np.array(unpack_numbers(packed), np.int64)


def unpacked_of(text: str | None, n: int) -> npt.NDArray[np.bool_] | None:
    """The bits of n images; None where they are not known."""
    bits = unpacked(text)[:n] if text is not None else np.zeros(0, np.bool_)
    return bits if len(bits) == n else None


def unpacked(text: str) -> npt.NDArray[np.bool_]:
    """The bits of `evidence.pack_bits`, a few more at the end."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8)).astype(bool)
