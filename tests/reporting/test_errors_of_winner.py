"""`errors.json`: small with many classes (FINDINGS D20), and what earlier versions wrote is read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError
from studies_by_hand import winner

from automl_transfer.reporting.errors_of_winner import WinnerErrors


def test_only_pairs_that_occur_are_kept() -> None:
    """D20: 2,000 classes gave a file of 23 MB."""
    many = tuple(f"class {number:04d}" for number in range(2000))
    rng = np.random.default_rng(0)
    pairs = tuple((truth, int(rng.integers(2000)), 2) for truth in range(2000))
    found = winner(0).model_copy(update={"classes": many, "confusion": pairs})
    text = found.to_json()
    assert len(text) < 200_000
    assert WinnerErrors.model_validate_json(text) == found


def test_the_table_of_the_first_version_is_read() -> None:
    now = winner(7)
    document = json.loads(now.to_json())
    document |= {"schema": "automl-transfer/errors/1", "confusion": [[66, 1, 0], [3, 62, 1], [0, 0, 67]]}
    assert WinnerErrors.model_validate_json(json.dumps(document)) == now
    assert now.confusion == ((0, 0, 66), (0, 1, 1), (1, 0, 3), (1, 1, 62), (1, 2, 1), (2, 2, 67))


@pytest.mark.parametrize(
    ("version", "confusion"),
    [
        (2, [[0, 3, 1]]),
        (2, [[-1, 0, 1]]),
        (2, [[0, 0]]),
        (2, "no"),
        (1, "no"),
        (1, [[0, 0, 0, 1]]),
        (1, [[1.5, 0, 1]]),
        (1, [3]),
    ],
)
def test_a_table_of_other_classes_is_refused(version: int, confusion: object) -> None:
    document = json.loads(winner(7).to_json())
    document |= {"schema": f"automl-transfer/errors/{version}", "confusion": confusion}
    with pytest.raises(ValidationError):
        WinnerErrors.model_validate_json(json.dumps(document))
