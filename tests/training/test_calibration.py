"""One temperature, fitted on validation images."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import log_loss

from automl_transfer.training.calibration import fit_temperature, log_likelihood, softmax


def drawn(n: int, classes: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that follow softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, classes)).astype(np.float32)
    cumulative = softmax(logits, temperature).cumsum(axis=1)
    return logits, (rng.random((n, 1)) > cumulative).sum(axis=1).clip(max=classes - 1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 10.0])
def test_the_temperature_that_labels_follow_is_found(temperature: float) -> None:
    logits, labels = drawn(20_000, 5, temperature)
    found = fit_temperature(logits, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.nll_after <= found.nll_before + 1e-9
    assert found.nll_after == pytest.approx(log_loss(labels, softmax(logits, found.temperature)), rel=1e-6)


def test_the_minimum_is_the_minimum() -> None:
    logits, labels = drawn(300, 4, 2.0, seed=1)
    share, rows = 1 / 302, np.arange(300)

    def loss(log_t: np.ndarray) -> float:
        p = softmax(logits, float(np.exp(log_t[0])))
        others = p.copy()
        others[rows, labels] = 0
        return float(-((1 - share) * np.log(p[rows, labels]) + share * np.log(others.max(axis=1))).mean())

    best = np.exp(minimize(loss, [0.0], method="Nelder-Mead", options={"xatol": 1e-6}).x[0])
    assert fit_temperature(logits, labels).temperature == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("scale", [0.01, 1.0, 60.0])
def test_a_model_without_a_mistake_is_as_sure_as_its_number_of_images_allows(scale: float) -> None:
    labels = np.arange(98) % 3
    logits = scale * np.eye(3)[labels]
    found = fit_temperature(logits, labels)
    # Two rivals share what is left, one of them is the best: 1 / (n + 2) of it.
    sure = softmax(logits, found.temperature).max(axis=1)
    assert 0.97 < sure.min() < 0.995


def test_log_likelihoods_do_not_underflow() -> None:
    assert log_likelihood(np.array([[0.0, 5000.0]]), np.array([0]))[0] == pytest.approx(-5000.0)
