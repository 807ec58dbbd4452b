"""The loss-threshold attack beside scikit-learn and by counting."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from automl_transfer.reporting import membership as module
from automl_transfer.reporting.membership import membership


def test_examples() -> None:
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_that_of_scikit_learn_and_the_share_is_counted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    members, others = np.round(rng.gamma(1.0, 1.0, 150), 1), np.round(rng.gamma(2.0, 1.0, 90), 1)
    found = membership(members, others)
    truth = [1] * 150 + [0] * 90
    assert found.auc == pytest.approx(roc_auc_score(truth, -np.concatenate([members, others])), abs=1e-9)
    threshold = np.sort(others)[0]  # 1% of 90 is less than one image
    assert found.found == pytest.approx((members < threshold).mean())
    assert found.interval[0] < found.auc < found.interval[1]
    assert found.curve[0] == (0.0, 0.0)
    assert found.curve[-1] == (1.0, 1.0)
    assert list(found.curve) == sorted(found.curve)


def test_the_interval_covers_what_guessing_has() -> None:
    rng = np.random.default_rng(0)
    runs = [membership(rng.random(60), rng.random(60)).interval for _ in range(400)]
    assert 0.92 <= np.mean([low <= 0.5 <= high for low, high in runs]) <= 0.98


def test_all_apart_and_all_the_same() -> None:
    apart = membership(np.zeros(5), np.ones(5))
    assert (apart.auc, apart.found) == (1.0, 1.0)
    same = membership(np.ones(5), np.ones(5))
    assert (same.auc, same.found, same.interval) == (0.5, 0.0, (0.5, 0.5))
