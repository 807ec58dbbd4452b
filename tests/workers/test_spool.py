"""Results in the spool: those that an earlier version wrote are delivered, odd files trouble nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.store.values import CheckpointRef, Claim
from automl_transfer.workers.spool import Spool, SpooledEnd

END = SpooledEnd(
    claim=Claim(1, 2, 1, 1, 0, "token", Strategy(), checkpoint=CheckpointRef(1, "u", "s", 3)),
    state=TrialState.COMPLETE,
    value=0.5,
    stop=StopReason(kind=StopKind.COMPLETED),
    outcome=None,
)


def test_what_an_earlier_version_spooled_is_delivered(tmp_path: Path) -> None:
    path = Spool(tmp_path).put(END)
    content = json.loads(path.read_text())
    content["claim"]["params"] = {"learning_rate": 0.1}
    content["claim"]["checkpoint"]["conditions"] = {"threads": 1}
    path.write_text(json.dumps(content))
    assert list(Spool(tmp_path).waiting()) == [(path, END)]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"claim": 7}', '{"a": NaN}'])
def test_odd_files_are_left_where_they_are(tmp_path: Path, text: str) -> None:
    path = Spool(tmp_path).put(END)
    (tmp_path / "0.json").write_text(text)
    assert list(Spool(tmp_path).waiting()) == [(path, END)]
    assert [each.read_text() for each in tmp_path.glob("0.*")] == [text]  # perhaps under another name
