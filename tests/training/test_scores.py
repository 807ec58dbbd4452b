"""Scores: as scikit-learn and torch have them, also where classes are absent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, recall_score
from small_runs import CPU, make_run

from automl_transfer.data.task import LoadedTask
from automl_transfer.training.evaluate import measure_latency, predict_logits, scores


@pytest.mark.parametrize("present", [6, 4, 1], ids=["all classes", "two absent", "one class"])
def test_scores_are_those_of_the_references(present: int) -> None:
    generator = np.random.default_rng(present)
    labels = generator.integers(0, present, 60)
    logits = generator.normal(size=(60, 6)).astype(np.float32)
    logits[np.arange(60), labels] += 1.0
    found, predicted = scores(logits, labels, 6), logits.argmax(1)
    nll = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert found.nll == pytest.approx(float(nll), rel=1e-5)
    assert found.accuracy == np.mean(predicted == labels)
    seen = np.unique(labels)
    recall = recall_score(labels, predicted, labels=seen, average="macro", zero_division=0)
    assert found.balanced_accuracy == pytest.approx(recall)
    assert found.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))


def test_huge_logits_do_not_overflow() -> None:
    found = scores(np.array([[1e30, 0.0], [0.0, 1e4]], dtype=np.float32), np.array([0, 1]), 2)
    assert found.nll == 0.0
    assert found.accuracy == 1.0


def test_logits_do_not_depend_on_the_batch_and_leave_modes_alone(task: LoadedTask) -> None:
    run = make_run(task)
    run.model.train()
    rows, normalise = task.indices["validation"], run.plan.normaliser(CPU)
    whole = predict_logits(run.model, task.images, rows, normalise)
    parts = predict_logits(run.model, task.images, rows, normalise, batch=7)
    assert whole.shape == (len(rows), 10)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    assert run.model.training


def test_latency_is_a_positive_number_of_milliseconds(task: LoadedTask) -> None:
    run = make_run(task)
    taken = measure_latency(run.model, task.images, run.plan.normaliser(CPU), batch=8, repeats=3)
    assert 0.0 < taken < 1000.0
