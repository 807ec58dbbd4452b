"""Metrics of other packages: what is stored of them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from automl_transfer import plugins
from automl_transfer.domain import measured
from automl_transfer.domain.records import EpochResult
from automl_transfer.errors import ConfigurationError
from automl_transfer.training import evaluate

LOGITS, LABELS = np.eye(3, dtype=np.float32), np.array([0, 1, 0])
OLD = (
    '{"epoch":1,"train_loss":0.5,"validation_loss":0.4,"accuracy":0.75,"balanced_accuracy":0.5,"macro_f1":0.25,'
    '"learning_rate":0.1,"seconds":2.0}'
)


def test_rows_of_versions_before_read_and_are_written_as_they_can_read_them() -> None:
    epoch = EpochResult.model_validate_json(OLD)
    assert [epoch.score(name) for name in measured.MEASURED] == [0.75, 0.5, 0.25]
    assert "other" not in epoch.model_dump()
    assert '"other"' not in epoch.model_dump_json()
    more = epoch.model_copy(update={"other": 0.125})
    assert EpochResult.model_validate_json(more.model_dump_json()).score("mine") == 0.125


@pytest.mark.parametrize("gives", [1.5, -0.1, float("nan"), "much", None])
def test_a_metric_that_gives_no_share_is_one_error(gives: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "load_metric", lambda name: lambda logits, labels: gives)
    with pytest.raises(ConfigurationError, match=r"'mine' must give a number in \[0, 1\], got"):
        evaluate.scores(LOGITS, LABELS, 3, "mine")


def test_a_metric_that_is_not_installed_is_named_with_those_that_are() -> None:
    (mistake,) = measured.unknown_metric("mine")
    assert mistake.startswith(
        "task.metric: must be one of accuracy, balanced_accuracy, macro_f1, robust-N, got 'mine'"
    )
    assert measured.unknown_metric("no name!") == []  # the pattern says so
    assert plugins.names("metrics", frozenset()) == ()
