"""What is said of a search beside its first answers and the portfolio."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.extend([str(ROOT / "benchmarks" / "search"), str(ROOT / "tests" / "reporting")])

from found import wasted  # noqa: E402
from one import laid_over  # noqa: E402
from trials_by_hand import trial  # noqa: E402
from worth import RECIPES, SEARCH, Row, file_of, last_line, lines  # noqa: E402

from automl_transfer.domain.records import TrialState  # noqa: E402
from automl_transfer.search.portfolio import PORTFOLIO  # noqa: E402
from automl_transfer.store.values import Mark  # noqa: E402
from studies import PHOTOGRAPHS, arguments_of  # noqa: E402


def cells(task: str, seed: int, search: float, first: float, recipes: list[float]) -> dict[Any, Any]:
    found: dict[Any, Any] = {
        (task, SEARCH, seed): {
            "test": search, "first": {"test": first}, "wasted": 0.4, "confirmed": search + 0.002, "trials": 9,
            "validation": 0.9,
            "curve": [
                {"test": 0.5, "validation": 0.8, "strategy": "a first one"},
                {"test": search - 0.04, "validation": 0.9, "strategy": "the one that confirmation preferred"},
                {"test": 0.4, "validation": 0.95, "strategy": "the best by validation"},
                {"test": search, "validation": 0.9, "strategy": "what was shipped"},
            ],
        }
    }  # fmt: skip
    for arm, test in zip(RECIPES, recipes, strict=True):
        # Validation chooses the recipe; its test accuracy is not looked at.
        found[task, arm, seed] = {"test": test, "validation": 1.0 - abs(test - 0.8), "loss": 0.1}
    return found


def test_gains_are_over_what_validation_would_have_chosen() -> None:
    recipes = [0.8, 0.95, *[0.7] * (len(RECIPES) - 2)]
    known = cells("signs", 0, 0.9, 0.85, recipes) | cells("digits-20", 0, 0.99, 0.985, recipes)
    # A seed without recipes counts beside its first answers, not beside the portfolio.
    known["signs", SEARCH, 1] = {**known["signs", SEARCH, 0], "test": 0.92}
    rows = [Row(task, known, [0, 1, 2]) for task in ("signs", "digits-20")]
    assert [row.seeds for row in rows] == [[0, 1], [0]]
    assert [row.compared for row in rows] == [[0], [0]]
    assert rows[0].gain == pytest.approx(6.0)
    assert rows[0].over_portfolio == pytest.approx(10.0)
    # Before the winner was trained on the validation images, too.
    assert rows[0].alone == pytest.approx(86.0)
    assert rows[0].alone_over_portfolio == pytest.approx(6.0)
    # The last line is of the photographs; where none is recorded, of what is.
    assert last_line(rows) == "SEARCH gains +6.00 points, over the portfolio +10.00, wasted 40%"
    assert last_line(rows[1:]) == "SEARCH gains +0.50 points, over the portfolio +19.00, wasted 40%"
    assert last_line([]) == "SEARCH gains - points, over the portfolio -, wasted -"
    searched = Row("signs", {("signs", SEARCH, 0): known["signs", SEARCH, 0]}, [0])
    assert last_line([searched]) == "SEARCH gains +5.00 points, over the portfolio -, wasted 40%"
    told = "\n".join(lines(rows))
    assert "photographs: gains +6.00" in told
    assert "photographs, alone: gains +1.00 points, over the portfolio +6.00 (least +6.00)" in told
    assert "confirmed accuracy is -0.80 points off" in told


def test_what_went_on_or_ends_among_the_best_is_not_wasted() -> None:
    records = [
        trial(0, 0.9, 0.9, 0.9, seconds=10.0),  # of the best
        trial(1, 0.8, 0.8, 0.8, seconds=20.0),  # was promoted, and is not
        trial(2, 0.7, state=TrialState.PRUNED, seconds=30.0),
        trial(3, 0.8, 0.8, 0.8, seconds=40.0),  # runs through, whatever it has
    ]
    marks = [Mark(root, 1, "fresh head", 0.5, 1.0, 3.0, paused=False) for root in (1, 2, 3)]
    assert wasted(records, marks, best={0}, through={3}) == pytest.approx(0.7)
    assert wasted(records, marks, best={0, 3}, through={3}) == pytest.approx(0.3)


def test_a_recipe_has_what_the_profile_found_where_it_names_no_other() -> None:
    class Task:
        class task:  # noqa: N801
            @staticmethod
            def may(change: str) -> bool:
                return False

    task: Any = Task()
    profile = {**trial(0).strategy.model_dump(), "truncation": 6, "pool": 2, "taps": 3}  # type: ignore[union-attr]
    upper = laid_over(PORTFOLIO["upper half, cropped"], profile, task)
    assert (upper.truncation, upper.pool, upper.taps, upper.crop) == (6, 2, 3, 0.6)
    assert not upper.mirror  # it would change the class of these images
    whole = laid_over(PORTFOLIO["whole"], profile, task)
    assert (whole.truncation, whole.pool, whole.taps, whole.tune_mode) == (8, 1, 1, "full")


def test_cells_have_files_of_their_own_and_tasks_a_command(tmp_path: Path) -> None:
    files = {file_of(tmp_path, ("signs", arm, 0)).name for arm in (SEARCH, *RECIPES)}
    assert len(files) == 1 + len(PORTFOLIO)
    assert all(name.replace("-", "").replace(".", "").isalnum() for name in files)
    assert "task.seed=3" in arguments_of("textures", 3, None)
    named = set(
        re.findall(r'^    "(\S+)": Task\(', (ROOT / "benchmarks/photos/tasks.py").read_text(), re.MULTILINE)
    )
    assert set(PHOTOGRAPHS) == named  # each has a table there
