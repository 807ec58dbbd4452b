"""Images of one patient or object are no independent evidence: intervals and sets count groups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm
from studies_by_hand import confirm_run
from trials_by_hand import epoch, make_task, trial

from automl_transfer.domain.evidence import pack_bits, pack_numbers, unpack_numbers
from automl_transfer.domain.task import GroupNumbers, SplitSizes, Task
from automl_transfer.reporting.confirmed import arms_of, validation_interval
from automl_transfer.reporting.panel import Panel
from automl_transfer.reporting.ranking import rank
from automl_transfer.reporting.statistics import clopper_pearson, paired_set, variance_of_mean

Bits = npt.NDArray[np.bool_]


def drawn(rng: np.random.Generator, groups: npt.NDArray[np.int64], p: float) -> Bits:
    """Which images a model gets right: what groups have in common is .3 of what makes an image hard."""
    common = rng.standard_normal(groups.max() + 1)[groups]
    hard = np.sqrt(0.3) * common + np.sqrt(0.7) * rng.standard_normal(len(groups))
    return np.asarray(hard < norm.ppf(p))


def task_of(groups: npt.NDArray[np.int64], pool: npt.NDArray[np.int64]) -> Task:
    numbers = GroupNumbers(validation=pack_numbers(groups.tolist()), pool=pack_numbers(pool.tolist()))
    sizes = SplitSizes(train=len(pool) - len(groups), validation=len(groups), test=10)
    return make_task(grouping="ab" * 32, group_numbers=numbers, splits=sizes)


@pytest.mark.parametrize(("number", "images"), [(10, 20), (20, 10), (40, 5)])
def test_intervals_cover_and_the_best_is_seldom_lost(number: int, images: int) -> None:
    rng, groups = np.random.default_rng(number), np.repeat(np.arange(number), images)
    n, draws, covered, lost, lost_alone = number * images, 500, 0, 0, 0
    for _ in range(draws):
        one, two = drawn(rng, groups, 0.9), drawn(rng, groups, 0.9)
        low, high = validation_interval(float(one.mean()), n, one, groups)
        covered += low <= 0.9 <= high
        successes = [int(one.sum()), int(two.sum())]
        lost += not paired_set([one, two], successes, n, groups=groups)[0]
        lost_alone += not paired_set([one, two], successes, n)[0]
    assert covered / draws >= 0.90
    assert lost / draws <= 0.05
    assert lost_alone > lost


def test_groups_of_one_image_are_no_groups() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.random(200) < 0.9, rng.random(200) < 0.8
    alone = np.arange(200)
    successes = [int(one.sum()), int(two.sum())]
    assert paired_set([one, two], successes, 200, groups=alone) == paired_set([one, two], successes, 200)
    with_groups, without = variance_of_mean(one.astype(float), alone), variance_of_mean(one.astype(float))
    assert with_groups == pytest.approx((without[0] * 200 / 199, 199))
    assert validation_interval(0.9, 200) == clopper_pearson(180, 200)


def test_where_all_are_right_each_group_counts_once() -> None:
    right, groups = np.ones(200, bool), np.repeat(np.arange(10), 20)
    low, high = validation_interval(1.0, 200, right, groups)
    assert high == 1.0
    assert low < 0.8 < validation_interval(1.0, 200)[0]


def test_one_patient_does_not_decide_the_ranking() -> None:
    groups = np.repeat(np.arange(10), 20)
    better = np.ones(200, bool)
    worse = better.copy()
    worse[:20] = False  # all images of one patient
    records = [
        trial(at, epochs=(epoch(1, float(right.mean()), right=pack_bits(right.tolist())),), value=float(right.mean()))
        for at, right in enumerate((better, worse))
    ]  # fmt: skip
    known = rank(records, task_of(groups, np.tile(groups, 3)), "s")
    unknown = rank(records, make_task(splits=SplitSizes(train=400, validation=200, test=10)), "s")
    assert [row.set for row in known.rows] == ["a", "a"]
    assert [row.set for row in unknown.rows] == ["a", None]
    assert known.rows[1].validation.interval[0] < unknown.rows[1].validation.interval[0]


def test_confirmed_strategies_are_compared_by_groups() -> None:
    """Runs judge whole groups; what one group alone tells apart is not told apart."""
    pool = np.repeat(np.arange(40), 10)
    runs = []
    for run in range(4):
        rows = np.flatnonzero(pool % 4 == run)
        for root in range(2):
            right = np.ones(len(rows), bool)
            if root:
                right[pool[rows] == run] = False  # one group of ten in each run
            runs.append(confirm_run(root, run, right, images=rows, pool=len(pool)))
    arms = list(arms_of(runs).values())
    by_images, by_groups = (Panel(arms, "accuracy", groups).gap(0, 1) for groups in (None, pool))
    assert by_images is not None
    assert by_groups is not None
    assert by_groups.mean == by_images.mean == pytest.approx(0.1)
    assert by_groups.variance > 5 * by_images.variance
    assert by_groups.df < by_images.df


def test_numbers_are_packed() -> None:
    numbers = np.random.default_rng(0).integers(0, 1 << 20, 5000).tolist()
    assert unpack_numbers(pack_numbers(numbers)) == numbers
    assert unpack_numbers(pack_numbers([])) == []


def test_a_lead_before_confirmed_strategies_counts_groups() -> None:
    groups = np.repeat(np.arange(20), 10)
    n, other = len(groups), np.arange(200) < 170
    better = np.arange(200) < 175  # five more, all of one group
    records = [
        trial(at, epochs=(epoch(1, float(right.mean()), right=pack_bits(right.tolist())),), value=float(right.mean()))
        for at, right in enumerate((other, better))
    ]  # fmt: skip
    runs = [confirm_run(0, run, np.arange(n) < 168, pool=4 * n) for run in range(3)]
    alone = rank(records, make_task(splits=SplitSizes(train=600, validation=n, test=10)), "s", runs)
    assert [row.root_trial for row in alone.rows] == [1, 0]
    grouped = rank(records, task_of(groups, np.tile(groups, 4)), "s", runs)
    assert [row.root_trial for row in grouped.rows] == [0, 1]
