import io
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from studies_by_hand import make_study
from trials_by_hand import CRASH, HOSTILE, make_task, trial

from automl_transfer.api.report import look_into
from automl_transfer.domain.records import StopKind, StopReason, TrialRecord, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import Task
from automl_transfer.reporting.plain import count, plain, seconds
from automl_transfer.reporting.study_report import make_report
from automl_transfer.reporting.table import Report

TASK = make_task()


def show(
    records: list[TrialRecord], task: Task, width: int = 120, study: str = "s", limit: int | None = 10
) -> str:
    report = make_report(study, task, None, records)
    stream = io.StringIO()
    Console(file=stream, width=width).print(Report(report, limit))
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_every_line_fits_and_every_number_is_whole(width: int) -> None:
    records = [trial(0, 0.985, ms=1.234), trial(1234, 0.91, ms=0.5, seconds=4000.0)]
    text = show(records, TASK, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    if width >= 80:
        for whole in ("98.50%", "95.7-99.7%", "1.2 ms", "3.4 M", "66.7 min", "1234"):
            assert whole in text
        assert "efficientnet-lite0" in text


def test_hostile_names_stay_text() -> None:
    records = [trial(0, 0.9, strategy=Strategy(source=HOSTILE[:300])), trial(1, state=TrialState.FAIL)]
    records[1] = records[1].model_copy(
        update={"stop": StopReason(kind=StopKind.BUG, detail="[link=file:///]x[/link]\x1b]0;owned\x07")}
    )
    text = show(records, make_task(name=HOSTILE), 80, study=HOSTILE)
    assert "[bold red]<script>" in text
    assert "[link=file:///]x[/link]" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)


def test_surrogates_of_undecodable_names_can_be_printed() -> None:
    assert plain("caf\udce9").encode() == "caf\N{REPLACEMENT CHARACTER}".encode()
    assert plain("猫/größe") == "猫/größe"
    assert len(plain("x" * 5000)) == 300


def test_what_is_said_without_any_trial() -> None:
    assert "no trials yet: run `search`" in show([], TASK)


def test_what_is_said_when_all_are_pruned_or_failed() -> None:
    records = [
        trial(0, 0.9, state=TrialState.PRUNED),
        trial(1, state=TrialState.FAIL, stop=CRASH),
        trial(2, state=TrialState.FAIL),
    ]
    text = show(records, TASK)
    assert "no trial to rank yet, for none is complete; run `search` again" in text
    assert "3 trials: 1 pruned, 2 failed." in text
    assert "Failed: trial 1: crashed: the worker died" in text
    assert "Failed: trial 2: no reason was recorded" in text
    running = show([*records, trial(3, 0.5, state=TrialState.RUNNING)], TASK)
    assert "wait for the running ones" in running


def test_what_is_paused_is_told_from_what_was_stopped() -> None:
    waits = StopReason(kind=StopKind.PAUSED, detail="after epoch 1 of 3")
    records = [trial(0, 0.9), trial(1, 0.7, state=TrialState.PRUNED), trial(2, 0.8, state=TrialState.PRUNED)]
    # What went on keeps the reason of its pause until it ends.
    records.append(trial(3, 0.85, state=TrialState.RUNNING))
    records[2:] = [record.model_copy(update={"stop": waits}) for record in records[2:]]
    text = " ".join(show(records, TASK).split())
    assert "4 trials: 1 complete, 1 pruned, 1 running, 1 paused." in text
    assert "1 of the strategies is paused at a rung, checkpoint kept" in text


def test_lines_of_another_study_are_no_failures_of_this_one(tmp_path: Path) -> None:
    """Workers of several studies may log into one folder."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "w.log").write_text(
        "10:00:00 info study=other trial=17 root=17 attempt=0 epoch 1\n"
        "10:00:01 info study=by hand trial=17 root=17 attempt=0 epoch 2\n"
        "10:00:02 info study=not by hand trial=17 root=17 attempt=0 epoch 3\n"
        "10:00:03 info study=by hand trial=170 root=170 attempt=0 epoch 4\n"
    )
    line = "10:00:01 info study=by hand trial=17 root=17 attempt=0 epoch 2"
    assert look_into(make_study(), tmp_path).logs == {17: (line,)}
    # Those of a launch lie beside the artifacts, wherever the run's folder is.
    (tmp_path / "run").mkdir()
    for run in (tmp_path / "run", None):
        assert look_into(make_study(), run, tmp_path).logs == {17: (line,)}


def test_failures_are_grouped_and_continuations_counted() -> None:
    records = [
        trial(0, 0.5, state=TrialState.FAIL, stop=CRASH),
        trial(1, state=TrialState.FAIL, stop=CRASH),
        trial(2, 0.5, 0.6, root=0, attempt=1),
    ]
    (failure,) = make_report("s", TASK, None, records).summary.failures
    assert (failure.trials, failure.continued) == ((0, 1), (0,))
    assert "Failed: trials 0, 1 (1 carried on by a later attempt): crashed: the worker died" in show(
        records, TASK
    )


def test_foreign_trials_are_named() -> None:
    foreign = trial(4, 0.9).model_copy(update={"strategy": None})
    text = show([foreign], TASK)
    assert "Not ranked, because no strategy or no curve is recorded: 4" in text


def test_long_rankings_are_cut_and_say_so() -> None:
    records = [trial(number, 0.5 + number / 100) for number in range(15)]
    assert "5 more rows" in show(records, TASK)
    assert "more rows" not in show(records, TASK, limit=None)


def test_units_for_people() -> None:
    assert [seconds(v) for v in (0.31, 42.0, 312.0, 9000.0)] == ["0.3 s", "42 s", "5.2 min", "2.5 h"]
    assert [count(v) for v in (950, 3_400_000, 2_000_000_000)] == ["950", "3.4 M", "2.0 G"]
