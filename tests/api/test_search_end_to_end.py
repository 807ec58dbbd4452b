"""A whole search on digits: what it leaves behind can be read, loaded and reproduced, and it goes on."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from automl_transfer.api import SearchEvents, SearchResult, search
from automl_transfer.data.task import load_task
from automl_transfer.domain.records import TrialState
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.errors import StudyError
from automl_transfer.recipes.best_strategy import read_recipe
from automl_transfer.recipes.predict import Predictor
from automl_transfer.reporting.errors_of_winner import WinnerErrors
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.workers.signals import StopRequest

SPEC = StudySpec(
    name="end to end",
    task=TaskSpec(dataset="digits?per_class=20"),
    search=SearchSpec(trials=3, max_epochs=2, startup_trials=2),
    space={"truncation": (3, 5), "tune_mode": ("head", "suffix"), "learning_rate": (1e-3, 1e-2)},
)


@dataclasses.dataclass
class Searched:
    folder: Path
    result: SearchResult

    @property
    def storage(self) -> StoreURL:
        return StoreURL.parse(str(self.folder / "study.db"))

    def again(self, spec: StudySpec = SPEC, **options: Any) -> SearchResult:
        return search(spec, storage=self.storage, output=self.folder / "out", device="cpu", **options)

    def files(self) -> dict[str, tuple[int, bytes]]:
        """What was shipped: the files that every call writes anew are left out."""
        out = self.folder / "out"
        return {
            str(file.relative_to(out)): (file.stat().st_mtime_ns, file.read_bytes())
            for file in sorted(out.rglob("*"))
            if file.is_file() and file.name not in ("ranking.json", "report.html", "run.json")
        }


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("search 模型")
    made = Searched(folder, None)  # type: ignore[arg-type]
    made.result = made.again()
    yield made
    torch.set_num_threads(before)


def test_errors_have_the_probabilities_that_predict_gives(tmp_path: Path) -> None:
    """They were those before the calibration that the model ships with."""
    Searched(tmp_path, None).again(refit=False)  # type: ignore[arg-type]
    errors = WinnerErrors.model_validate_json((tmp_path / "out" / "errors.json").read_text())
    predictor = Predictor.load(tmp_path / "out" / "model")
    assert abs(predictor.description.temperature - 1) > 0.005
    task = load_task(SPEC.task)
    rows = task.indices["validation"]
    given = [prediction.top[0][1] for prediction in predictor.predict(task.images[rows])]
    bins = [(b.images, b.images * b.confidence) for b in errors.calibration if b.images]
    assert sum(images for images, _ in bins) == len(rows)
    assert sum(sure for _, sure in bins) == pytest.approx(sum(given), abs=1e-3)


class AskedToStop(SearchEvents):
    """Asks once, as a signal does, when something happens for the first time."""

    def __init__(self, moment: str) -> None:
        self.stop = StopRequest()
        setattr(self, moment, self.ask)

    def ask(self, *told: Any) -> None:
        self.stop.ask("SIGINT received", signal.SIGINT)


@pytest.mark.parametrize(
    ("moment", "trials", "confirmed"),
    [("on_profile", None, 0), ("on_study", None, 0), ("on_confirmation", 3, 1)],
)
def test_ctrl_c_is_heard_while_images_are_passed_and_the_same_call_goes_on(
    tmp_path: Path, moment: str, trials: int | None, confirmed: int
) -> None:
    events = AskedToStop(moment)
    spec = SPEC.model_copy(update={"search": SPEC.search.model_copy(update={"max_epochs": 1})})
    where: dict[str, Any] = {
        "storage": StoreURL.parse(str(tmp_path / "study.db")), "output": tmp_path / "out", "device": "cpu",
    }  # fmt: skip
    result = search(spec, stop=events.stop, events=events, **where)
    assert (result.interrupted, result.finished, result.shipped) == (True, False, None)
    assert result.reason == "SIGINT received"
    assert not (tmp_path / "out" / "best_strategy.json").exists()
    with Store.open(where["storage"]) as store:
        handle = store.study(spec.name)
        states = [record.state for record in Trials(store).records(handle)]
        assert len(Evidence(store).runs(handle)) == confirmed
    assert TrialState.RUNNING not in states
    assert trials is None or len(states) == trials
    again = search(spec, **where)
    assert again.finished
    assert again.recipe is not None


def test_the_budget_is_used_and_results_are_valid(searched: Searched) -> None:
    result, out = searched.result, searched.folder / "out"
    assert result.finished
    assert not result.interrupted
    assert result.shipped is not None
    with Store.open(searched.storage) as store:
        records = Trials(store).records(store.study(SPEC.name))
    assert len(records) == 3
    assert all(record.state.finished for record in records)
    ranking = json.loads((out / "ranking.json").read_text(encoding="utf-8"))
    assert str(searched.folder) not in json.dumps(ranking)
    recipe = read_recipe(out / "best_strategy.json")
    best = result.shipped.ranking.best
    assert best is not None
    assert (recipe.provenance.trial, recipe.provenance.study) == (best.root_trial, SPEC.name)
    assert recipe.strategy == next(r.strategy for r in records if r.number == best.root_trial)
    assert recipe == result.shipped.recipe


def test_the_model_reproduces_the_recipes_test_score_exactly(searched: Searched) -> None:
    out = searched.folder / "out"
    recipe = read_recipe(out / "best_strategy.json")
    task = load_task(SPEC.task)
    rows = task.indices["test"]
    predictions = list(Predictor.load(out / "model").predict(np.asarray(task.images[rows])))
    truth = [task.task.classes[label] for label in task.labels[rows]]
    hits = [p.label == wanted for p, wanted in zip(predictions, truth, strict=True)]
    assert recipe.metrics.test is not None
    assert recipe.metrics.test.n == len(rows)
    assert sum(hits) / len(hits) == recipe.metrics.test.accuracy
    assert recipe.metrics.test.accuracy > 0.7


def test_running_it_again_changes_nothing_and_evaluates_nothing(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    import automl_transfer.training.evaluate as evaluate

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the test split was evaluated again")

    monkeypatch.setattr(evaluate, "predict_logits", never)
    before = searched.files()
    profiles: list[object] = []

    class Events(SearchEvents):
        def on_profile(self, profile: object) -> None:
            profiles.append(profile)

    result = searched.again(events=Events())
    assert result.finished
    assert profiles == []
    assert result.shipped is not None
    assert searched.result.shipped is not None
    assert result.shipped.recipe == searched.result.shipped.recipe
    assert searched.files() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": {**SPEC.space, "truncation": (2, 5)}}, r"space \(truncation: \[3, 5\], now \[2, 5\]\)"),
        ({"task": TaskSpec(dataset="digits?per_class=21")}, "another task"),
        ({"search": SPEC.search.model_copy(update={"max_epochs": 3})}, r"horizon \(2 epochs, now 3 epochs"),
    ],
)
def test_another_study_under_the_same_name_is_refused(
    searched: Searched, change: dict[str, Any], words: str
) -> None:
    before = searched.files()
    with pytest.raises(StudyError, match=words):
        searched.again(SPEC.model_copy(update=change))
    assert searched.files() == before


def test_a_larger_budget_goes_on(searched: Searched) -> None:
    more = SPEC.model_copy(update={"search": SPEC.search.model_copy(update={"trials": 4})})
    assert searched.again(more).finished
    with Store.open(searched.storage) as store:
        records = Trials(store).records(store.study(SPEC.name))
    assert [record.number for record in records] == [0, 1, 2, 3]
