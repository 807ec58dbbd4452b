"""Closed-form ridge: leave-one-out is what leaving one out gives, and logits are calibrated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from automl_transfer.domain.strategy import Strategy
from automl_transfer.transfer.heads import solve_ncm
from automl_transfer.transfer.ridge import (
    LAMBDAS,
    Ridge,
    calibrate,
    calibrations,
    fold,
    standardisation,
    standardised,
)
from automl_transfer.transfer.ridge_at import NormalEquations, ridge_head


def sample(
    n: int, features: int, classes: int = 3, noise: float = 2.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    labels[:classes] = np.arange(classes)
    centres = generator.normal(size=(classes, features))
    x = centres[labels] + noise * generator.normal(size=(n, features)) + 3.0
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels)


def left_out_by_hand(x: Tensor, labels: Tensor, classes: int, ridge_lambda: float) -> Tensor:
    """Solves one ridge regression (intercept not penalised) for each row that is left out."""
    mean, scale = standardisation(x)
    z = (x.double() - mean) / scale
    y = torch.nn.functional.one_hot(labels, classes).double()
    rows = []
    for out in range(len(z)):
        kept = torch.arange(len(z)) != out
        centre, middle = z[kept].mean(0), y[kept].mean(0)
        a, b = z[kept] - centre, y[kept] - middle
        penalty = ridge_lambda * z.shape[1] * torch.eye(z.shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(a.T @ a + penalty, a.T @ b)
        rows.append((z[out] - centre) @ weights + middle)
    return torch.stack(rows)


@pytest.mark.parametrize(("n", "features"), [(40, 7), (25, 60)], ids=["primal", "dual"])
@pytest.mark.parametrize("ridge_lambda", [1e-3, 0.1, 10.0])
def test_leave_one_out_equals_leaving_each_row_out(n: int, features: int, ridge_lambda: float) -> None:
    x, labels = sample(n, features)
    ridge = Ridge(x, labels, 3)
    assert ridge.primal == (features <= n)
    torch.testing.assert_close(
        ridge.leave_one_out([ridge_lambda])[0],
        left_out_by_hand(x, labels, 3, ridge_lambda),
        atol=1e-7,
        rtol=1e-6,
    )


@pytest.mark.parametrize(("n", "features"), [(40, 7), (25, 60)], ids=["primal", "dual"])
def test_the_head_is_the_ridge_solution_on_raw_features(n: int, features: int) -> None:
    x, labels = sample(n, features)
    weight, bias = ridge_head(x, labels, 3, 0.1)
    mean, scale = standardisation(x)
    z = (x.double() - mean) / scale
    y = torch.nn.functional.one_hot(labels, 3).double()
    w = torch.linalg.solve(
        z.T @ z + 0.1 * features * torch.eye(features, dtype=torch.float64), z.T @ (y - y.mean(0))
    )
    expected = z @ w + y.mean(0)
    logits = x.double() @ weight.T + bias
    beta = calibrate(Ridge(x, labels, 3).leave_one_out([0.1])[0], labels)
    torch.testing.assert_close(logits, beta * expected, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize(("images", "features"), [(20, 9), (12, 60)], ids=["primal", "dual"])
def test_a_head_on_views_is_calibrated_on_images_left_out_with_all_their_views(
    images: int, features: int
) -> None:
    views = 3
    first, image_labels = sample(images, features)
    generator = torch.Generator().manual_seed(1)
    x = first.repeat_interleave(views, 0)
    x[torch.arange(len(x)) % views > 0] += torch.randn(images * (views - 1), features, generator=generator)
    labels = image_labels.repeat_interleave(views)
    weight, bias = ridge_head(x, labels, 3, 0.05, views)

    mean, scale = standardisation(x)
    z, y = (x.double() - mean) / scale, torch.nn.functional.one_hot(labels, 3).double()

    def fitted(kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        centre, middle = z[kept].mean(0), y[kept].mean(0)
        a, penalty = z[kept] - centre, 0.05 * features * views * torch.eye(features, dtype=torch.float64)
        return torch.linalg.solve(a.T @ a + penalty, a.T @ (y[kept] - middle)), centre, middle

    alone = []
    for image in range(images):
        weights, centre, middle = fitted(torch.arange(len(x)) // views != image)
        alone.append((z[image * views] - centre) @ weights + middle)
    weights, centre, middle = fitted(torch.ones(len(x), dtype=torch.bool))
    expected = calibrate(torch.stack(alone), image_labels) * ((z - centre) @ weights + middle)
    torch.testing.assert_close(x.double() @ weight.T + bias, expected, atol=1e-7, rtol=1e-6)


def test_equal_views_change_nothing() -> None:
    x, labels = sample(40, 7)
    for solve in (lambda *rows, views: ridge_head(*rows, 3, 0.1, views), ncm):
        once = solve(x, labels, views=1)
        thrice = solve(x.repeat_interleave(3, 0), labels.repeat_interleave(3), views=3)
        torch.testing.assert_close(thrice, once, atol=1e-9, rtol=1e-7)


def ncm(x: Tensor, labels: Tensor, *, views: int) -> tuple[Tensor, Tensor]:
    return solve_ncm(x, labels, 3, Strategy(), views)


def test_calibration_finds_the_best_temperature() -> None:
    x, labels = sample(400, 10, noise=3.0)
    predictions = Ridge(x, labels, 3).leave_one_out([0.1])[0]

    def nll(beta: float) -> float:
        return float(torch.nn.functional.cross_entropy(beta * predictions, labels))

    beta = calibrate(predictions, labels)
    assert nll(beta) <= min(nll(beta * factor) for factor in (0.2, 0.5, 0.8, 1.25, 2.0, 5.0))
    assert nll(beta) < nll(1.0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_calibration_does_not_depend_on_the_scale(scale: float) -> None:
    x, labels = sample(100, 5)
    predictions = Ridge(x, labels, 3).leave_one_out([0.1])[0]
    assert calibrate(predictions * scale, labels) * scale == pytest.approx(
        calibrate(predictions, labels), rel=1e-3
    )


def test_separable_data_give_confident_but_finite_logits() -> None:
    x, labels = sample(90, 20, noise=0.01)
    ridge = Ridge(x, labels, 3)
    best = ridge.best()
    assert best.accuracy == 1.0
    assert 0.0 < best.nll < 0.1
    assert np.isfinite(best.beta)
    assert best.beta < 1e3


def test_predictions_without_information_stay_finite() -> None:
    assert calibrate(torch.zeros(10, 3), torch.arange(10) % 3) == 1.0
    x, labels = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    assert np.isfinite(Ridge(x, labels, 3).best().nll)


def test_best_is_the_most_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    ridge = Ridge(*sample(60, 30), 3)
    alone = [ridge.scores([value])[0] for value in LAMBDAS]
    for most in (60 * 3 * 5, 10**6):  # in parts, and all at once
        monkeypatch.setattr("automl_transfer.transfer.ridge._MOST_SCORES", most)
        together = ridge.scores(LAMBDAS)
        for one, other in zip(alone, together, strict=True):
            assert (one.ridge_lambda, one.accuracy) == (other.ridge_lambda, other.accuracy)
            assert (one.nll, one.beta) == pytest.approx((other.nll, other.beta), rel=1e-9)
        assert ridge.best() == min(together, key=lambda score: score.nll)


@pytest.mark.parametrize("sizes", [(50, 40), (5, 7)])
def test_kernels_add_up_to_the_head_of_all_features(sizes: tuple[int, int]) -> None:
    first, labels = sample(60, sizes[0])
    second, _ = sample(60, sizes[1])
    both = torch.cat([first, second], dim=1)
    kernel = sum(x @ x.T for x in map(standardised, (first, second)))
    assert isinstance(kernel, torch.Tensor)
    summed = Ridge.of_kernel(kernel, sum(sizes), labels, 3)
    whole = Ridge(both, labels, 3)
    torch.testing.assert_close(summed.leave_one_out(LAMBDAS), whole.leave_one_out(LAMBDAS))
    assert summed.best().ridge_lambda == whole.best().ridge_lambda


def test_models_are_calibrated_each_by_itself() -> None:
    x, labels = sample(60, 30)
    predictions = Ridge(x, labels, 3).leave_one_out(LAMBDAS)
    predictions = torch.cat([predictions, torch.zeros(1, 60, 3), torch.full((1, 60, 3), torch.nan)])
    alone = [calibrate(each, labels) for each in predictions]
    assert calibrations(predictions, labels).tolist() == pytest.approx(alone, rel=1e-9)
    assert alone[-2:] == [1.0, 1.0]


def test_rows_may_come_in_parts() -> None:
    x, labels = sample(900, 12)
    x[:, 3] = 1e4 + 1e-2 * x[:, 3]  # a mean that would cancel
    whole = ridge_head(x, labels, 3, 0.1)
    sums = NormalEquations(3)
    for start in range(0, 900, 250):
        sums.add(x[start : start + 250], labels[start : start + 250])
    for got, expected in zip(sums.head(0.1, x, labels), whole, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    # Calibrated on a part of the rows: the same directions, nearly the same temperature.
    weight, _ = sums.head(0.1, x[:300], labels[:300])
    assert float(torch.cosine_similarity(weight.flatten(), whole[0].flatten(), dim=0)) > 0.999999


def test_constant_and_nearly_constant_features_do_not_matter() -> None:
    x, labels = sample(60, 6)
    padded = torch.cat([x, torch.full((60, 1), 7.0), torch.zeros(60, 1)], dim=1)
    padded[0, -1] = 1e-9
    weight, bias = ridge_head(padded, labels, 3, 0.1)
    moved = padded.clone()
    moved[:, -2:] += 1e-7
    assert bool(torch.isfinite(weight).all())
    torch.testing.assert_close(
        moved.double() @ weight.T + bias, padded.double() @ weight.T + bias, atol=1e-2, rtol=0
    )


@pytest.mark.parametrize("solver", ["ridge", "ncm"])
def test_a_class_without_images_is_never_predicted(solver: str) -> None:
    x, labels = sample(60, 6, classes=2, noise=0.5)
    if solver == "ridge":
        weight, bias = ridge_head(x, labels, 4, 0.1)
    else:
        weight, bias = solve_ncm(x, labels, 4, Strategy())
    predicted = (x.double() @ weight.T + bias).argmax(1)
    assert float((predicted == labels).double().mean()) > 0.9


def test_nearest_class_mean_predicts_the_nearest_mean() -> None:
    x, labels = sample(80, 6)
    weight, bias = solve_ncm(x, labels, 3, Strategy())
    mean, scale = standardisation(x)
    z = (x.double() - mean) / scale
    means = torch.stack([z[labels == c].mean(0) for c in range(3)])
    logits = x.double() @ weight.T + bias
    assert torch.equal(logits.argmax(1), torch.cdist(z, means).argmin(1))
    assert float(torch.nn.functional.cross_entropy(logits, labels)) < np.log(3)


def test_a_class_of_one_image_can_have_a_mean() -> None:
    x, labels = sample(30, 4, classes=2)
    labels[labels == 1] = 0
    labels[5] = 1
    weight, bias = solve_ncm(x, labels, 2, Strategy())
    assert bool(torch.isfinite(weight).all())
    assert bool(torch.isfinite(bias).all())


def test_folding_leaves_the_predictions_as_they_are() -> None:
    x, _ = sample(20, 4)
    weight, bias = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    mean, scale = standardisation(x)
    folded, shifted = fold(weight, bias, mean, scale)
    expected = ((x.double() - mean) / scale) @ weight.T + bias
    torch.testing.assert_close(x.double() @ folded.T + shifted, expected)


def test_ridge_refuses_what_it_cannot_solve() -> None:
    with pytest.raises(ValueError, match=r"n >= 2 labels, got \(1, 4\) and \(1,\)"):
        Ridge(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match=r"got \(3, 4\) and \(2,\)"):
        Ridge(torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64), 2)
