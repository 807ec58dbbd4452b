from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from automl_transfer.reporting.statistics import best_set, clopper_pearson, newcombe, paired_set, wilson


@pytest.mark.parametrize("n", [1, 7, 36, 360, 2000])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_wilson_equals_scipy(n: int, confidence: float) -> None:
    for k in {0, 1, n // 3, n // 2, max(0, n - 1), n}:
        expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
        assert wilson(k, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_covers_its_level_on_average_over_proportions() -> None:
    n, level = 360, 0.95
    bounds = np.array([wilson(k, n, level) for k in range(n + 1)])
    proportions = np.linspace(0.6, 0.995, 200)
    coverage = [
        binom.pmf(np.arange(n + 1), n, p)[(bounds[:, 0] <= p) & (p <= bounds[:, 1])].sum()
        for p in proportions
    ]
    assert np.mean(coverage) == pytest.approx(level, abs=0.01)


def test_newcombe_equals_the_published_examples() -> None:
    # Newcombe 1998, table II, method 10: contrasts (a), (b), (g).
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert newcombe(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert newcombe(10, 10, 0, 10) == pytest.approx((0.6075, 1.0), abs=5e-5)


@pytest.mark.parametrize(("k", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match=r"successes <= n"):
        wilson(k, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -2.0])
def test_impossible_levels_are_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, confidence)


def test_best_set_holds_the_best_and_drops_the_clearly_worse() -> None:
    assert best_set([], 200) == []
    assert best_set([20], 200) == [True]
    assert best_set([200, 199, 120], 200) == [True, True, False]
    assert best_set([198, 198], 200) == [True, True]


def test_pairs_tell_what_counts_alone_do_not() -> None:
    """Two related models: the worse one is wrong where the other is, and on eight images more, of 200."""
    best = np.arange(200) >= 20
    worse = np.arange(200) >= 28
    assert best_set([180, 172], 200) == [True, True]
    assert paired_set([best, worse], [180, 172], 200) == [True, False]
    assert paired_set([best, None], [180, 172], 200) == [True, True]  # of an earlier version
    assert paired_set([None, worse], [180, 100], 200) == [True, False]
    other = np.roll(worse, 100)  # as many right, on other images: nothing is to be told from eight
    assert paired_set([best, other], [180, 172], 200) == [True, True]
    assert paired_set([], [], 200) == []
    assert paired_set([best], [180], 200) == [True]


@pytest.mark.parametrize("related", [0.0, 0.8])
def test_a_paired_set_seldom_loses_the_truly_best(related: float) -> None:
    """Eight equally good models: each one's exclusion is a mistake, at most 5%."""
    rng = np.random.default_rng(0)
    draws, lost = 300, 0
    for _ in range(draws):
        hard = rng.random(200)
        own = rng.random((8, 200))
        right = np.where(rng.random((8, 200)) < related, hard, own) < 0.9
        lost += not paired_set(list(right), [int(k) for k in right.sum(axis=1)], 200)[0]
    assert lost / draws <= 0.05


@pytest.mark.parametrize("p", [0.8, 0.97])
def test_best_set_seldom_loses_the_truly_best(p: float) -> None:
    """Eight equally good models (the worst case): each one's exclusion is a mistake, at most 5%."""
    rng = np.random.default_rng(0)
    draws, models = 500, 8
    kept = [best_set([int(k) for k in rng.binomial(200, p, models)], 200)[0] for _ in range(draws)]
    assert np.mean(kept) >= 0.95


@pytest.mark.parametrize("n", [1, 7, 36, 360, 2000])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_clopper_pearson_equals_scipy(n: int, confidence: float) -> None:
    for k in {0, 1, n // 3, n // 2, max(0, n - 1), n}:
        expected = binomtest(k, n).proportion_ci(confidence, method="exact")
        assert clopper_pearson(k, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-10)


@pytest.mark.parametrize("n", [100, 200, 359, 1000, 2000])
@pytest.mark.parametrize("p", [0.8, 0.95, 0.99])
def test_clopper_pearson_covers_in_simulation(p: float, n: int) -> None:
    draws = np.random.default_rng([n, int(100 * p)]).binomial(n, p, 2000)
    bounds = np.array([clopper_pearson(int(k), n) for k in draws])
    assert np.mean((bounds[:, 0] <= p) & (p <= bounds[:, 1])) >= 0.935


@pytest.mark.parametrize("call", [lambda: clopper_pearson(3, 2), lambda: clopper_pearson(1, 2, 1.0)])
def test_clopper_pearson_refuses_what_cannot_be(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


@pytest.mark.parametrize("p", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [100, 500, 2000])
def test_best_set_keeps_its_error_rate(p: float, n: int) -> None:
    """Twelve equally good models, 2,000 draws: the share of draws that lose a given one."""
    rng = np.random.default_rng([n, int(100 * p)])
    lost = 0
    for counts in rng.binomial(n, p, (2000, 12)):
        top = int(counts.max())
        lost += not best_set([top, int(counts[0])] + [0] * 10, n)[1]
    assert lost / 2000 <= 0.05
