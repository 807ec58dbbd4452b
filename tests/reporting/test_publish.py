"""What a study shows in the dashboard: its note and figures, whole, and a person's own note left alone."""

from __future__ import annotations

import json
import re

import optuna
import pytest
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialOutcome, TrialState
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import SplitSizes, Task
from automl_transfer.reporting.figures.registry import FIGURES
from automl_transfer.reporting.publish import MAIN_FIGURES, LivePage, publish, study_note, words
from automl_transfer.reporting.study_report import read_study_report
from automl_transfer.store.published import PublishedPage
from automl_transfer.store.rungs import Rungs
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import Mark, StudyHandle, TrialDraft

TASK = Task(
    name="digits",
    fingerprint="ab" * 32,
    classes=("0", "1"),
    splits=SplitSizes(train=60, validation=200, test=20),
    channels=1,
    resolution=32,
    channel_mean=(0.5,),
    channel_std=(0.5,),
)


def finish(store: Store, study: StudyHandle, accuracy: float, source: str = "efficientnet-lite0") -> None:
    trials = Trials(store)
    strategy = Strategy(source=source, learning_rate=accuracy / 100)
    claim = trials.create(study, TrialDraft(strategy, {}, {}), "w")
    assert claim is not None
    for epoch in (1, 2):
        result = EpochResult(
            epoch=epoch, train_loss=1.0, validation_loss=0.9, accuracy=accuracy, balanced_accuracy=accuracy,
            macro_f1=accuracy, learning_rate=1e-3, seconds=0.1,
        )  # fmt: skip
        trials.record_epoch(claim, result, accuracy)
    done = StopReason(kind=StopKind.COMPLETED)
    trials.finish(claim, TrialState.COMPLETE, accuracy, done, TrialOutcome(parameters=7, best_epoch=1))


@pytest.fixture
def opened(database_url: str):  # type: ignore[no-untyped-def]
    spec = StudySpec(name="a <b>study", task=TaskSpec(dataset="digits"), search=SearchSpec(trials=2))
    with Store.open(StoreURL.parse(database_url)) as store:
        yield store, store.create_study(spec, TASK, artifact_url="artifacts", sources={})
        store.optuna_storage.remove_session()


def seen(store: Store, study: StudyHandle) -> optuna.Study:
    return optuna.load_study(study_name=study.name, storage=store.optuna_storage)


def test_note_and_figures_follow_the_study(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    assert publish(store, study)
    assert "No answer yet" in get_note(seen(store, study))
    finish(store, study, 0.9)
    assert publish(store, study)
    note = get_note(seen(store, study))
    assert "The answer so far: trial 0" in note
    assert "**90.00%** of 200 images" in note
    finish(store, study, 0.95)
    assert publish(store, study)
    note = get_note(seen(store, study))
    assert "The answer: trial 1" in note
    assert "2 strategies of a budget of 2: 2 complete" in note
    plots = get_plotly_graph_objects(store.optuna_storage.get_study_system_attrs(study.study_id))
    assert {"accuracy-over-time", "curves", "compute"} <= set(plots)
    for text in plots.values():
        assert json.loads(text)["layout"]["title"]["text"]
    assert seen(store, study).metric_names == ["validation accuracy"]


def test_an_answer_is_not_the_last_one_while_a_trial_is_paused(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    finish(store, study, 0.8)
    claim = Trials(store).create(study, TrialDraft(Strategy(), {}, {}), "w")
    assert claim is not None
    at = Mark(claim.root, 1, "fresh head", 0.7, 1.0, 2.5)
    Rungs(store, study).pause(claim, at, StopReason(kind=StopKind.PAUSED), TrialOutcome())
    assert "The answer so far" in study_note(read_study_report(store, study))
    assert "1 complete, 1 paused (trials)" in study_note(read_study_report(store, study))
    Rungs(store, study).end("others were better there")
    assert "The answer:" in study_note(read_study_report(store, study))


def test_a_note_that_a_person_edited_is_left_alone(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    finish(store, study, 0.9)
    assert publish(store, study)
    save_note(seen(store, study), "mine")
    finish(store, study, 0.95)
    assert publish(store, study)
    assert publish(store, study)
    assert get_note(seen(store, study)) == "mine"


def test_workers_share_the_work(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    finish(store, study, 0.9)
    LivePage(store, study)()
    first = get_note(seen(store, study))
    finish(store, study, 0.95)
    for _ in range(3):
        LivePage(store, study)()  # another worker: the page is fresh
    assert get_note(seen(store, study)) == first


def test_a_page_is_made_once_by_one_and_less_often_in_a_large_study(
    opened: tuple[Store, StudyHandle],
) -> None:
    """A page of many trials takes longer to make than it lasts: nobody else begins one meanwhile."""
    store, study = opened
    pages = [PublishedPage(store, study) for _ in range(3)]
    assert [page.begin(60, a_second=50) for page in pages] == [True, False, False]
    assert pages[1].begin(0, a_second=50)
    for number in range(5):
        finish(store, study, (1 + number) / 10)
    assert not pages[1].begin(0, a_second=0.001)


def test_trouble_costs_a_page_and_nothing_else(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    store.delete(study.name)
    assert not publish(store, study)
    LivePage(store, study)()


def test_nothing_in_a_note_is_markup(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    finish(store, study, 0.9, source='<img src=x onerror="alert(1)"> [a](javascript:b) `c` | *d*')
    note = study_note(read_study_report(store, study.name))
    assert not re.search(r"(?<!\\)(<img|\]\(|`c|\*d)", note)
    assert r"\<img src=x onerror=" in note
    assert words("a|b\n# c") == r"a\|b \# c"


def test_the_main_figures_exist() -> None:
    assert set(MAIN_FIGURES) <= set(FIGURES)
