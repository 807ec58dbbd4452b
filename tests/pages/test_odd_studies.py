"""Studies that are empty, broken, foreign, old or hostile: a page, and a text, that say what they can."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from rich.console import Console
from studies_by_hand import confirm_run, make_records, spec, winner
from trials_by_hand import BEGIN, CRASH, HOSTILE, epoch, make_task, trial

from automl_transfer.domain.records import StopKind, StopReason, TrialRecord, TrialState
from automl_transfer.domain.spec import StudySpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.reporting.figures.accuracy_over_time import draw
from automl_transfer.reporting.html.study_page import study_page
from automl_transfer.reporting.output import as_csv, as_json, as_page, show
from automl_transfer.reporting.study_report import (
    StudyReport,
    make_report,
    read_study_report,
    with_run_folder,
)
from automl_transfer.store import tables as t
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import TrialDraft

Open = Callable[..., Any]
NAME = "<script>window.pwned=1</script>\"'&{{7*7}}\u202egnp\u0007" + "x" * 300
PRUNED = StopReason(kind=StopKind.PRUNED, detail="by asha after epoch 1")


def of(records: list[TrialRecord], name: str = "s", **task: Any) -> StudyReport:
    return make_report(name, make_task(**task), spec(), records)


def hostile() -> StudyReport:
    strategy = Strategy(source=NAME[:300])
    records = [
        trial(0, 0.9, 0.95, strategy=strategy),
        trial(
            1, 0.8, state=TrialState.FAIL, stop=StopReason(kind=StopKind.BUG, detail=NAME + "\n" + HOSTILE)
        ),
        trial(2, 0.9, 0.97),
    ]
    names = (NAME, "\u05d0\u05d1\u05d2 <b>", "\u202e" + "y" * 300)
    report = make_report(NAME[:200].replace("/", "_"), make_task(name=NAME, classes=names), spec(), records)
    found = winner(2, names)
    worst = found.worst[0].model_copy(update={"file": NAME, "truth": NAME, "answer": names[2]})
    return with_run_folder(report, found.model_copy(update={"worst": (worst,)}), {1: (NAME, HOSTILE)})


STUDIES: dict[str, tuple[Callable[[], StudyReport], str]] = {
    "empty": (lambda: of([]), "has no trials yet"),
    "one trial": (lambda: of([trial(0, 0.9)]), "90.00%"),
    "one waiting": (lambda: of([trial(0, state=TrialState.WAITING)]), "wait for the running ones"),
    "only pruned": (
        lambda: of([trial(i, 0.5, state=TrialState.PRUNED, stop=PRUNED) for i in range(4)]),
        "none is complete",
    ),
    "all failed": (
        lambda: of([trial(i, state=TrialState.FAIL, stop=CRASH) for i in range(4)]),
        "the worker died",
    ),
    "without clocks": (
        lambda: of([trial(i, 0.9, started=None, finished=None) for i in range(3)]),
        "90.00%",
    ),
    "without outcomes": (lambda: of([trial(i, 0.9, outcome=None) for i in range(3)]), "90.00%"),
    "all equal": (lambda: of([trial(i, 1.0) for i in range(30)]), "100.00%"),
    "infinite and NaN values": (
        lambda: make_report(
            "p", None, None,
            [trial(0, strategy=None, value=float("inf")), trial(1, value=float("nan")), trial(2, value=0.5)],
        ),
        "plain Optuna",
    ),
    "other metric": (
        lambda: make_report("s", make_task(metric="macro_f1"), spec(), make_records(20)),
        "macro f1",
    ),
    "hostile": (hostile, "x" * 20),
}  # fmt: skip


def text_of(report: StudyReport, width: int = 100) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width), [report], 10)
    return stream.getvalue()


@pytest.mark.parametrize("kind", STUDIES)
def test_a_page_says_what_it_can(open_page: Open, kind: str) -> None:
    make, words = STUDIES[kind]
    opened = open_page(study_page(make()))
    assert words in opened.page.inner_text("body")
    assert opened.run("window.pwned") is None
    assert opened.run("document.documentElement.scrollWidth") <= 1280


def test_of_another_metric_no_interval_is_said_that_is_the_accuracys(open_page: Open) -> None:
    records = [
        trial(at, 0.94, epochs=(epoch(1, 0.94, balanced_accuracy=score),))
        for at, score in enumerate((0.7, 0.6))
    ]
    runs = [
        confirm_run(root, run, np.arange(200) < 188, pool=800).model_copy(update={"balanced_accuracy": 0.7 - root / 10})
        for root in range(2) for run in range(4)
    ]  # fmt: skip
    report = make_report("s", make_task(metric="balanced_accuracy"), spec(), records, runs=runs)
    opened = open_page(study_page(report))
    cells = opened.run(
        "[...document.querySelectorAll('td small')].map(e => e.textContent).filter(t => t.includes(' to '))"
    )
    assert cells
    bounds = [each for each in cells if "accuracy" not in each]  # of gaps alone
    assert all("%" not in each for each in bounds)
    assert any(each.startswith(("accuracy 9", "accuracy 8")) for each in cells)
    bars = opened.run("document.querySelectorAll('#plot-confirmation .errorbar').length")
    assert bars == 0


@pytest.mark.parametrize("kind", STUDIES)
def test_so_do_text_json_and_csv(kind: str) -> None:
    report = STUDIES[kind][0]()
    text = text_of(report)
    assert report.study[:10] in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "nan%" not in text
    json.loads(as_json([report]))
    json.loads(as_json([report, report]))
    assert as_csv([report]).count("\r\n") >= 1 + len(report.ranking.rows)
    assert len(as_page([report, report])) > 1000


def test_names_are_shown_and_never_run(open_page: Open) -> None:
    opened = open_page(study_page(hostile()))
    text = opened.page.inner_text("body")
    assert "<script>window.pwned=1</script>" in text
    assert "{{7*7}}" in text
    assert opened.run("document.querySelectorAll('body script').length") == 3  # data, plotly, the page's own
    assert opened.run("[...document.images].every(i => i.src.startsWith('data:image/png'))")
    opened.run(
        "Plotly.Fx.hover(document.getElementById('plot-accuracy-over-time'), [{curveNumber: 0, pointNumber: 0}])"
    )
    opened.page.wait_for_selector("#plot-accuracy-over-time .hovertext")
    assert opened.run("document.querySelectorAll('#plot-accuracy-over-time .hoverlayer a').length") == 0


def test_csv_cells_are_no_formulas() -> None:
    report = of([trial(0, 0.9)], name="=HYPERLINK(1)")
    assert as_csv([report]).splitlines()[1].startswith("'=HYPERLINK(1)")


def test_a_study_of_plain_optuna(open_page: Open, database_url: str) -> None:
    store = Store.open(StoreURL.parse(database_url))
    plain = optuna.create_study(study_name="plain", storage=store.optuna_storage)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        if trial.number == 3:
            return float("nan")
        if trial.number == 4:
            return float("inf")
        return x

    plain.optimize(objective, n_trials=8)
    report = read_study_report(store, "plain")
    assert report.task is None
    assert report.maximised is False  # Optuna minimises where nobody says
    best = min(record.value for record in report.complete if record.value is not None)
    (line,) = (each for each in draw(report).data if each.name == "best so far")
    assert line.y[-1] == best
    optuna.create_study(study_name="two", storage=store.optuna_storage, directions=["minimize", "maximize"])
    assert read_study_report(store, "two").maximised is None
    assert "made by plain Optuna: 8 trials" in text_of(report, 200)
    opened = open_page(study_page(report))
    assert "It holds no strategies to rank" in opened.page.inner_text("h1")
    assert opened.run("document.querySelectorAll('#plot-accuracy-over-time .point').length") >= 6
    store.close()


def test_a_label_at_the_end_of_an_axis_does_not_come_and_go(open_page: Open) -> None:
    ends = (0.00828, 0.01714, 0.02544, 0.04939, 0.05778, 0.06606)  # a label within pixels of the far end
    values = (0.67715, 0.11275, 0.55555, 0.69529, 0.12544, 0.7773)
    records = [
        trial(number, value=value, strategy=None, started=BEGIN, finished=BEGIN + timedelta(seconds=end))
        for number, (end, value) in enumerate(zip(ends, values, strict=True))
    ]
    opened = open_page(study_page(make_report("plain", None, None, records)))
    opened.run(
        """async () => {
            const plot = document.getElementById("plot-accuracy-over-time");
            for (let width = 540; width < 620; width++) await Plotly.relayout(plot, { width });
        }"""
    )
    assert opened.troubles == []  # as at each test's end: "Too many auto-margin redraws"


def test_trials_of_another_version_of_the_space_stay_out_of_the_ranking(database_url: str) -> None:
    store = Store.open(StoreURL.parse(database_url))
    study = store.create_study(
        StudySpec(name="old", task=spec().task), make_task(), artifact_url="a", sources={}
    )
    trials = Trials(store)
    for number in range(2):
        claim = trials.create(study, TrialDraft(Strategy(batch=8 + number), {}, {}), "w", limit=None)
        assert claim is not None
        trials.record_epoch(claim, trial(0, 0.9).epochs[0], 0.9)
        trials.finish(claim, TrialState.COMPLETE, 0.9, StopReason(kind=StopKind.COMPLETED))
    with store.engine.begin() as connection:
        connection.execute(
            sa.update(t.at_trials)
            .where(t.at_trials.c.root == 0)
            .values(strategy='{"source": "a", "warp_factor": 9}')
        )
    report = read_study_report(store, "old")
    assert [row.root_trial for row in report.ranking.rows] == [1]
    assert "Left out, because it cannot be read: trial 0" in text_of(report)
    assert "Left out, because it cannot be read: trial 0" in study_page(report)
    store.close()


def test_a_page_holds_no_path_of_this_machine(tmp_path: Path) -> None:
    assert str(tmp_path.parent) not in study_page(of(make_records(10)))
    assert BEGIN.isoformat() not in study_page(of([]))
