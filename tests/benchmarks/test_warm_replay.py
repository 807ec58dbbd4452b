"""Warm starts by replay: what a task is told by the others, and that the shipped file is made from the table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import made_table
import numpy as np
import optuna
import pytest
import stored
from knowledge import made, signatures_of
from regret import Scale
from replay import suit
from simulate import Replay
from strategies import quick_space
from warm import ARMS, Others, Reached, arm_of, known_tasks, p_of, run_all, table_lines

from automl_transfer.knowledge import library
from automl_transfer.knowledge.reading import usable
from automl_transfer.search.promotion import PROPOSED

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[stored.TaskTable]:
    """Three tasks on which the same strategies are good."""
    folder = tmp_path_factory.mktemp("table")
    whole = stored.pack(made_table.record(folder), folder / "made.json.gz")
    return [dataclasses.replace(whole, name=name) for name in ("digits-20", "mnist-600", "tiles")]


def test_siblings_tell_nothing_of_each_other(tables: list[stored.TaskTable], tmp_path: Path) -> None:
    known = known_tasks(tables, tmp_path)
    for task, others in (("digits-20", {"tiles"}), ("tiles", {"digits-20", "mnist-600"})):
        assert {each.name for each in Others(known, task, "warm", 0).earlier()} == others
    (itself,) = Others(known, "digits-20", "oracle", 0).earlier()
    assert itself.name == "digits-20"
    (turned,) = Others(known, "digits-20", "adversarial", 0).earlier()
    assert [each.rank for each in turned.tried] == [1.0 - each.rank for each in known["tiles"].tried]
    assert Others(known, "digits-20", "warm", 0).weights([turned]) is None
    assert Others(known, "digits-20", "similar", 0).weights([turned]) == [1.0]  # nobody signed it


def test_a_warm_search_tries_what_won_elsewhere_right_after_its_first_answers(
    tables: list[stored.TaskTable], tmp_path: Path
) -> None:
    arms = ["cold", "warm"]
    results = run_all(tables[2:], arms, 1, 8.0, tmp_path)  # told by nobody
    assert results["warm", "tiles"] == results["cold", "tiles"]
    results = run_all(tables, arms, 1, 8.0, tmp_path)
    cold, warm = (results[arm, "tiles"][0] for arm in arms)
    best = max(one.validation for one in cold.incumbents)
    when = [next(i.seconds for i in one.incumbents if i.validation >= 0.99 * best) for one in (warm, cold)]
    assert when[0] <= when[1]
    found = {
        (arm, t.name): Reached.of(results[arm, t.name], 0.99 * best, 1e6) for arm in arms for t in tables
    }
    lines = list(table_lines(found, arms, [t.name for t in tables]))
    assert len(lines) == 4
    assert "1.00 (1.00 to 1.00)" in lines[2]
    assert p_of(found, [t.name for t in tables], "cold", "cold") == "-"
    assert np.isfinite(found["warm", "tiles"].seconds).all()
    assert {"cold", "random", "i-Epoch", "warm", "similar", "shuffled", "oracle", "adversarial"} <= set(ARMS)


def test_a_misleading_start_is_judged_beside_the_first_answers_that_train() -> None:
    """They begin after the start is known, and are what proposals have to be as good as."""
    tables = stored.read_all()
    table = tables["clothing"]
    arm = arm_of("adversarial", known_tasks(list(tables.values()), stored.RECORDED), table.name, 0)
    replay = Replay(table, arm, suit(quick_space(), table), seed=0, budget=8 * Scale.of(table).seconds)
    replay.run()
    proposed = [trial for trial in replay.trials.values() if trial.label.startswith(PROPOSED)]
    assert len(proposed) == 1  # so far behind the tuned head that it ends the warm start alone


def test_the_shipped_file_is_what_the_recorded_table_gives() -> None:
    again = made(stored.read_all(), signatures_of(stored.RECORDED))
    file = Path(library.__file__).with_name(library.SHIPPED)
    assert file.read_text(encoding="utf-8") == again.to_json(), "run python benchmarks/table/knowledge.py"
    assert usable(again, "f").dropped == {}
