"""Training for what withstands an attack: the metric is measured, compared and chosen by like any other."""

from __future__ import annotations

import dataclasses

import numpy as np
from small_runs import CPU, make_run

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.attack import attack_of
from automl_transfer.training.robustness import withstands


def test_a_run_judges_and_chooses_its_epochs_by_what_withstands(task: LoadedTask) -> None:
    robust = dataclasses.replace(task, task=task.task.model_copy(update={"metric": "robust-2"}))
    run = make_run(robust, max_epochs=3, adversarial=0.02, head_init="ridge", learning_rate=1e-3)
    results = list(run.epochs())
    assert all(result.other is not None and result.other <= result.accuracy for result in results)
    assert run.best is not None
    assert run.best.score("robust-2") == max(result.score("robust-2") for result in results)
    run.load_best()
    rows = task.indices["validation"]
    attack = attack_of("robust-2")
    assert attack is not None
    found = withstands(run.model, task.images, rows, task.labels[rows], run.plan.normaliser(CPU), attack)
    assert np.isclose(found.mean(), run.best.score("robust-2"))
