"""Scores of sources: values of public implementations on the same tensors, definitions by brute force, and
tasks that have hardly anything to score."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from automl_transfer.domain import scores
from automl_transfer.errors import ConfigurationError
from automl_transfer.transfer.counting import Counting
from automl_transfer.transfer.scores.base import NoScore, Seen, scored
from automl_transfer.transfer.scores.knn import knn, neighbours
from automl_transfer.transfer.scores.logme import logme

# (n, F, C, seed, noise) of `drawn`, and what public implementations give on it: LogME and the regularised
# H-score those of thuml/Transfer-Learning-Library (commits 48c707a, and its `regularized_h_score` as later
# works carry it), GBC that of google-research/stable_transfer with diagonal Gaussians, on the principal axes.
PUBLIC = [
    ((120, 8, 3, 0, 1.5), {"logme": -0.50564538, "h_score": 0.88950438, "gbc": -3.39068930}),
    ((300, 40, 5, 1, 3.0), {"logme": -0.43701419, "h_score": 1.31332688, "gbc": -7.96303366}),
    ((60, 100, 4, 2, 3.0), {"h_score": 1.52252600, "gbc": -1.08605851}),
    ((200, 20, 2, 3, 0.05), {"logme": 3.05808973, "h_score": 1.00480407, "gbc": 0.0}),
]


def drawn(n: int, width: int, classes: int, seed: int, noise: float) -> Seen:
    """Classes around means of their own, in features of different noise and a common offset."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    labels[:classes] = np.arange(classes)
    means = rng.normal(size=(classes, width))
    x = means[labels] + noise * rng.normal(size=(n, width)) * rng.uniform(0.5, 2, size=width) + 0.5
    return Seen(torch.from_numpy(x), torch.from_numpy(labels), classes)


@pytest.mark.parametrize(("drawing", "values"), PUBLIC)
def test_values_are_those_of_public_implementations(
    drawing: tuple[int, int, int, int, float], values: dict[str, float]
) -> None:
    assert scored(drawn(*drawing), list(values)) == pytest.approx(values, rel=1e-5, abs=1e-6)


def test_logme_is_the_greatest_evidence_also_where_features_outnumber_images() -> None:
    """By the density of the labels under the model, its two parameters searched for from outside."""
    seen = drawn(40, 60, 2, 4, 2.0)
    x = seen.features.numpy()

    def best(label: int) -> float:
        y = (seen.labels.numpy() == label).astype(float)

        def loss(logs: np.ndarray) -> float:
            covariance = x @ x.T * math.exp(-logs[0]) + np.eye(len(y)) * math.exp(-logs[1])
            return -float(multivariate_normal(np.zeros(len(y)), covariance).logpdf(y))

        return -float(minimize(loss, np.zeros(2), method="Nelder-Mead").fun) / len(y)

    expected = (best(0) + best(1)) / 2
    assert logme(seen) == pytest.approx(expected, abs=2e-3)
    assert logme(seen) <= expected + 1e-6


def test_neighbours_by_brute_force() -> None:
    seen = drawn(90, 6, 3, 5, 1.0)
    x = seen.features.numpy().astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    k = neighbours(90, 3)
    right = 0
    for row in range(90):
        near = sorted((other for other in range(90) if other != row), key=lambda o: -float(x[row] @ x[o]))[:k]
        votes = [
            (sum(1 for o in near if seen.labels[o] == label), sum(float(x[row] @ x[o]) for o in near
             if seen.labels[o] == label), label)
            for label in range(3)
        ]  # fmt: skip
        right += max(votes)[2] == int(seen.labels[row])
    assert k == 15
    assert knn(seen) == pytest.approx(right / 90)


def test_images_that_belong_together_do_not_vote_on_each_other() -> None:
    """Each image is there twice, under labels at random: its twin would say the class every time."""
    rng = np.random.default_rng(6)
    x = torch.from_numpy(rng.normal(size=(60, 5))).repeat_interleave(2, 0)
    labels = torch.from_numpy(rng.integers(0, 40, 60)).repeat_interleave(2)
    blocks = torch.arange(60).repeat_interleave(2)
    assert knn(Seen(x, labels, 40)) == 1.0
    assert knn(Seen(x, labels, 40, Counting(blocks=blocks))) < 0.2


def test_images_count_as_the_task_says() -> None:
    seen = drawn(120, 8, 3, 0, 1.5)
    heavy = Counting(weights=1.0 + 99.0 * (seen.labels == 0).double())
    counted = scored(Seen(seen.features, seen.labels, 3, heavy))
    alone = scored(Seen(seen.features, seen.labels, 3))
    assert counted["knn"] != alone["knn"]
    assert counted["ridge"] != alone["ridge"]


def test_better_features_have_better_scores() -> None:
    """Every score falls as the same classes are drawn with more noise."""
    found = [scored(drawn(200, 16, 4, 7, noise)) for noise in (0.5, 1.5, 4.0)]
    for name in scores.SCORES:
        assert all(better[name] >= worse[name] for better, worse in pairwise(found)), name
        assert found[0][name] > found[-1][name], name


def halves(n: int) -> torch.Tensor:
    return torch.arange(n) % 2


SPARSE = {
    "two classes of ten images": drawn(20, 320, 2, 8, 1.0),
    "a class of one image": Seen(drawn(20, 30, 2, 9, 1.0).features, (torch.arange(20) == 3).long(), 2),
    "classes without an image": Seen(drawn(20, 30, 2, 9, 1.0).features, halves(20), 7),
    "constant features": Seen(torch.full((20, 6), 3.0), halves(20), 2),
    "no activation at all": Seen(torch.zeros(20, 6), halves(20), 2),
    "tiny numbers": Seen(1e-9 * drawn(20, 6, 2, 8, 1.0).features, halves(20), 2),
    "huge numbers": Seen(1e9 * drawn(20, 6, 2, 8, 1.0).features, halves(20), 2),
    "two images": Seen(torch.tensor([[1.0], [2.0]]), halves(2), 2),
    "one class that is there": Seen(drawn(20, 6, 2, 8, 1.0).features, torch.zeros(20, dtype=torch.long), 2),
}


@pytest.mark.parametrize("seen", SPARSE.values(), ids=SPARSE)
def test_scores_of_sparse_tasks_are_finite(seen: Seen) -> None:
    unscored: dict[str, str] = {}
    found = scored(seen, unscored=unscored)
    assert unscored == {}
    assert set(scores.SCORES) <= set(found)
    assert all(math.isfinite(value) for value in found.values())


def test_a_score_that_says_nothing_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(seen: Seen) -> float:
        raise NoScore(f"needs more than {len(seen.labels)} images")

    monkeypatch.setattr("automl_transfer.transfer.scores.knn.knn", nothing)
    monkeypatch.setattr("automl_transfer.transfer.scores.gbc.gbc", lambda seen: math.nan)
    unscored: dict[str, str] = {}
    found = scored(SPARSE["constant features"], unscored=unscored)
    assert set(scores.SCORES) - set(found) == {"knn", "gbc"}
    assert unscored == {"knn": "needs more than 20 images", "gbc": "a score must be finite, got nan"}


def test_an_unknown_score_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"score must be one of ridge, h_score, knn, logme, gbc.*'leep'"
    ):
        scored(SPARSE["two images"], ["leep"])
