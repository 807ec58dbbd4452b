"""Replays: the same seed gives the same search, and the search is the project's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import made_table
import optuna
import pytest
import stored
from elsewhere import chosen_elsewhere, searching_with
from made_table import SPACE, TUNED
from near import Nearest
from optuna.trial import TrialState
from orders import At, TopK
from regret import soonest
from replay import Scale, by_task, main, run_all, table_lines
from simulate import LABELS, Arm, Outcome, Replay

from automl_transfer.domain.spec import SearchSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search import prior

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> stored.TaskTable:
    folder = tmp_path_factory.mktemp("table")
    return stored.pack(made_table.record(folder), folder / "made.json.gz")


def run(table: stored.TaskTable, arm: Arm | None = None, **asked: Any) -> Outcome:
    return Replay(table, arm or Arm(pruner="asha"), SPACE, **{"seed": 0, "budget": 150.0, **asked}).run()


def test_a_replay_can_be_repeated(table: stored.TaskTable) -> None:
    for arm in (Arm(pruner="asha"), Arm(sampler="tpe", pruner="hyperband"), Arm(order="1-epoch top K")):
        first, again, other = (run(table, arm, seed=seed, workers=2) for seed in (3, 3, 4))
        assert first == again
        assert first.distances != other.distances


def test_first_answers_come_first_and_only_complete_trials_are_answers(table: stored.TaskTable) -> None:
    out = run(table, budget=40.0)
    assert out.distances[:3] == [0.0, 0.0, 0.0]  # recorded as they are
    assert out.incumbents[0].seconds == pytest.approx(1.0 + 0.5 + 0.5)  # profile, its head
    assert [one.validation for one in out.incumbents] == sorted(one.validation for one in out.incumbents)
    cold = run(table, Arm(sampler="tpe", pruner="hyperband", first=False), budget=40.0)
    assert cold.incumbents[0].seconds > 9.0  # no sooner than a training's end


def test_workers_share_the_time(table: stored.TaskTable) -> None:
    one, many = run(table), run(table, workers=8)
    assert many.trials > 4 * one.trials
    assert one.spent == pytest.approx(150.0, rel=0.2)
    assert many.spent == pytest.approx(8 * 150.0, rel=0.2)
    enough = many.incumbents[1]
    ended = run(table, workers=8, enough=lambda one: one.validation >= enough.validation)
    assert ended.incumbents == many.incumbents[:2]
    assert ended.trials < many.trials


def test_what_the_table_lacks_is_answered_by_the_nearest_and_counted(table: stored.TaskTable) -> None:
    cells = made_table.cells()
    nearest = Nearest([cell.strategy for cell in cells])
    at, distance = nearest.find(TUNED)
    assert (cells[at].strategy, distance) == (TUNED, 0.0)
    other = Strategy.of({**TUNED.model_dump(), "learning_rate": 1.1e-4})
    at, distance = nearest.find(other)
    assert cells[at].strategy == TUNED
    assert 0.0 < distance < 0.2
    assert nearest.find(other, {at})[0] != at
    assert all(
        cells[nearest.find(other, set(range(n)))[0]].strategy.tune_mode != "closed_form" for n in range(9)
    )
    assert sum(distance > 0 for distance in run(table).distances) > 3


def test_top_k_trains_all_for_some_epochs_and_the_best_to_the_end() -> None:
    order = TopK(SearchSpec(), 100.0)
    for number, value in enumerate((0.3, 0.9, 0.5)):
        assert order.pauses(At(number, TUNED, 1, value, 1.0, 5.0))
    assert not order.pauses(At(3, TUNED, 2, 0.9, 1.0, 5.0))
    assert order.next(left=60.0) is None
    assert not order.is_too_late(60.0)
    assert order.is_too_late(50.0)
    assert [order.next(50.0), order.next(40.0), order.next(30.0), order.next(20.0)] == [1, 2, 0, None]


def test_promotion_is_the_project_s_own(table: stored.TaskTable) -> None:
    out = run(table, Arm(order="promote"), budget=300.0)
    assert out == run(table, Arm(order="promote"), budget=300.0)
    assert out.complete < out.trials


def test_draws_are_compared_at_rungs_with_first_answers_that_run_to_their_end(
    table: stored.TaskTable,
) -> None:
    replay = Replay(table, Arm(pruner="asha"), SPACE, seed=0, budget=150.0)
    replay.run()
    (tuned,) = (number for number, trial in replay.trials.items() if trial.label == LABELS["tuned"])
    noted = replay.history.trials()[tuned]
    assert noted.state is TrialState.COMPLETE
    assert noted.system_attrs["completed_rung_0"] == noted.intermediate_values[3]


def test_recipes_that_other_tasks_chose_are_drawn_from(table: stored.TaskTable) -> None:
    twin = stored.TaskTable("twin", table.facts, table.cells)
    chosen = chosen_elsewhere([table, twin], twin)
    assert len(chosen) == 7
    assert next(iter(chosen)) == max(made_table.cells(), key=lambda cell: max(cell.validation)).name
    assert chosen_elsewhere([twin], twin) == {}
    before = prior.PORTFOLIO
    with searching_with(chosen):
        assert chosen == prior.PORTFOLIO
    assert prior.PORTFOLIO is before


def test_the_comparison_has_a_line_an_arm(table: stored.TaskTable, tmp_path: Path) -> None:
    arms = ["prior+promote+cost", "tpe+hyperband"]
    results = run_all([table], arms, [1], 2, 5.0)
    lines = list(table_lines(results, arms, ["made"], "tpe+hyperband"))
    assert len(lines) == 4
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "1.00 (" in lines[3]  # the baseline beside itself
    assert soonest(table, Scale.of(table).enough) <= results[arms[0], "made", 1].until("validation").min()
    times = by_task(results, (arms[0], 1), (arms[1], 1), ["made"])
    assert f"{times['made']:.2f} (" in lines[2]  # of one task the mean over tasks is its own
    scale = Scale.of(table)
    assert scale.regret(None, "validation") == 1.0


@pytest.mark.parametrize(
    ("arm", "why"),
    [
        ("prior", r"SAMPLER\+ORDER"),
        ("prior+everything", r"SAMPLER\+ORDER"),
        ("gp+promote", "cannot learn from trials that were stopped"),
        ("prior+promote+warm", "must end in cost, improve, cold"),
        ("prior+promote+WARMTH=1", "a setting of a search or a constant"),
        ("prior+promote+min_epochs=few", "VALUE as in JSON"),
        ("prior+promote+min_epochs=99", r"min_epochs must be <= max_epochs \(9\), got 99"),
    ],
)
def test_an_arm_that_cannot_be_is_refused(
    arm: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["replay.py", "--arms", "prior+none", arm])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert re.search(why, said.err)
    assert said.out == ""  # before anything runs
