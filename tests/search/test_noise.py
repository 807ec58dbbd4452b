"""A search that ends where no strategy could be shown to be better, and one that goes on all the same."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from automl_transfer.api import search
from automl_transfer.api.evidence import confirm_best
from automl_transfer.api.finish import RANKING
from automl_transfer.api.suite import SuiteRun
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.reporting.candidates import by_validation
from automl_transfer.reporting.confirmed import unpacked
from automl_transfer.reporting.study_report import StudyReport, read_study_report
from automl_transfer.reporting.table import Report
from automl_transfer.search.noise import nothing_left
from automl_transfer.search.workbench import Workbench
from automl_transfer.space.suite_file import Suite
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL

EASY = {"tune_mode": "closed_form", "truncation": 4, "pool": 4, "taps": 2, "ridge_lambda": (0.3, 1.0)}


def spec(**settings: object) -> StudySpec:
    values = {
        "trials": 3,
        "profile": False,
        "default_first": False,
        "confirm": 0,
        "sampler": "random",
        **settings,
    }
    return StudySpec(
        name="easy", task=TaskSpec(dataset="digits?per_class=100"), search=SearchSpec(**values), space=EASY
    )


@pytest.mark.parametrize(
    ("wrong", "images", "metric", "ends"),
    [
        (0, 40, "accuracy", True),
        (2, 359, "accuracy", True),
        (4, 359, "accuracy", True),
        (5, 359, "accuracy", False),  # p = 1/32
        (4, 5000, "accuracy", True),
        (3, 74, "accuracy", False),  # four points are left
        (0, 40, "macro_f1", True),
        (1, 359, "macro_f1", False),
        (0, 40, "kappa", False),
    ],
)
def test_when_nothing_is_left_to_gain(wrong: int, images: int, metric: str, ends: bool) -> None:
    assert (nothing_left(1 - wrong / images, images, metric) is not None) == ends
    assert nothing_left(None, images, metric) is None


def test_a_search_ends_where_no_strategy_could_be_shown_to_be_better(tmp_path: Path) -> None:
    url, out = StoreURL.parse(str(tmp_path / "study.db")), tmp_path / "out"
    result = search(spec(), storage=url, output=out, device="cpu", refit=False)
    assert result.finished
    assert result.shipped is not None
    assert len(result.shipped.report.records) == 1
    said = "what is left to gain is below the noise of 359 validation images"
    assert result.reason.startswith(said)
    kept = result.shipped.report.records[0].epochs[-1]  # which images are right is kept with the score
    assert kept.right is not None
    assert unpacked(kept.right)[:359].sum() == round(359 * kept.accuracy)
    assert "search.stop_when=budget" in result.reason
    assert json.loads((out / RANKING).read_text())["ended"].startswith(said)
    console = Console(width=500, record=True, file=io.StringIO())
    console.print(Report(result.shipped.report))
    assert f"The search ended before its budget: {said}" in console.export_text()

    again = search(spec(), storage=url, output=out, device="cpu", refit=False)  # finished, and stays so
    assert (len(again.shipped.report.records) if again.shipped else 0, again.reason) == (1, result.reason)

    on = search(spec(stop_when="budget"), storage=url, output=out, device="cpu", refit=False)
    assert on.shipped is not None
    assert len(on.shipped.report.records) == 3
    assert on.reason == "the study is finished"
    assert on.ranking is not None
    assert on.ranking.ended is None


def test_whoever_asks_for_more_trials_gets_more(tmp_path: Path) -> None:
    url = StoreURL.parse(str(tmp_path / "study.db"))

    def trials(asked: int) -> int:
        result = search(spec(trials=asked), storage=url, output=tmp_path / "out", device="cpu", refit=False)
        assert result.shipped is not None
        return len(result.shipped.report.records)

    assert trials(3) == 1
    assert trials(3) == 1
    assert trials(4) == 4  # more than it was to try: somebody wants them although nothing is left to gain
    assert trials(4) == 4
    assert trials(5) == 5


def test_a_suite_that_was_asked_for_more_trials_is_finished_once_it_has_them(tmp_path: Path) -> None:
    """The study ended with its budget from then on, which was taken for another one than the suite has."""
    url = StoreURL.parse(str(tmp_path / "study.db"))

    def tried(asked: int) -> int | None:
        """How many trials there are then; None where nothing was searched, as all was finished already."""
        going = SuiteRun(Suite("easy", (spec(trials=asked),)), url, tmp_path / "out")
        (ended,) = going.run(
            lambda each, folder: search(each, storage=url, output=folder, device="cpu", refit=False)
        )
        if ended.result is None:
            return None
        assert ended.result.shipped is not None
        return len(ended.result.shipped.report.records)

    assert [tried(asked) for asked in (3, 4, 4)] == [1, 4, None]


def test_where_nothing_is_left_to_gain_no_dear_strategy_is_confirmed(tmp_path: Path) -> None:
    easy = spec(profile=True, trials=4, confirm=3, confirm_runs=2, max_epochs=1)
    easy = easy.model_copy(update={"space": {"resolution_scale": 1.0}})
    url, out = StoreURL.parse(str(tmp_path / "study.db")), tmp_path / "out"

    def confirmed(report: StudyReport) -> set[int]:
        return {run.root for run in report.runs if run.kind == "confirm"}

    first = search(easy, storage=url, output=out, device="cpu", refit=False).shipped
    assert first is not None
    report = first.report
    best, *others = by_validation(report.records, "accuracy")[:3]
    seconds = {r.root: r.outcome.train_seconds for r in report.records if r.outcome is not None}
    cheap = {r.root for r in others if seconds[r.root] <= 2.0 * seconds[best.root]}
    assert len(report.records) >= 3  # the first answers are tried all the same
    assert confirmed(report) == {best.root} | cheap
    assert len(confirmed(report)) < 3
    assert report.ranking.ended
    assert report.ranking.confirmation is not None
    assert report.ranking.confirmation.complete  # nothing is owed
    with Store.open(url) as store:
        bench = Workbench.open(store.study("easy"), device="cpu")
        confirm_best(store, bench, strategies=3, max_runs=2)  # asked for by hand
        assert confirmed(read_study_report(store, "easy")) == {best.root} | {r.root for r in others}
