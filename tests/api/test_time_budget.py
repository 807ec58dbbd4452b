"""The time that people mean (D21): `minutes` bounds the whole command, and what is left undone goes on."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forge
import pytest
import torch

from automl_transfer.api import SearchEvents, SearchResult, search, verify
from automl_transfer.api.evidence import _in_time
from automl_transfer.api.time_plan import ATTACKED, CONFIRMED, REFITTED, SHIPPING, Costs, TimePlan
from automl_transfer.domain.evidence import ExtraRun
from automl_transfer.domain.records import EpochResult, TrialOutcome, TrialRecord, TrialState
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import SplitSizes, Task
from automl_transfer.errors import ConfigurationError, DataError
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.workers.signals import TIME_UP, StopRequest

AT_ONCE = 1e-4
"""Minutes that are over when the images are there."""

SPEC = StudySpec(
    name="short of time",
    task=TaskSpec(dataset="digits?per_class=20"),
    search=SearchSpec(trials=3, max_epochs=2, startup_trials=2, confirm=2, confirm_runs=2),
    space={"truncation": 3, "learning_rate": (1e-4, 1e-2)},
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spec(**changes: object) -> StudySpec:
    return SPEC.model_copy(update={"search": SPEC.search.model_copy(update=changes)})


def run(folder: Path, study: StudySpec, **options: Any) -> SearchResult:
    url = StoreURL.parse(str(folder / "study.db"))
    return search(study, storage=url, output=folder / "out", device="cpu", **options)


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [forge.command(), *arguments, "--storage", f"sqlite:///{cwd / 'study.db'}"],
        cwd=cwd, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400"},
    )  # fmt: skip


# What a plan says, for a command of 600 s.


def record(number: int, accuracy: float, seconds: float) -> TrialRecord:
    epoch = EpochResult(
        epoch=1, train_loss=0.1, validation_loss=1 - accuracy, accuracy=accuracy, balanced_accuracy=accuracy,
        macro_f1=accuracy, learning_rate=1e-3, seconds=seconds,
    )  # fmt: skip
    return TrialRecord(
        trial_id=number, number=number, root=number, state=TrialState.COMPLETE, value=accuracy,
        strategy=Strategy(learning_rate=1e-3 / (1 + number)).canonical(), epochs=(epoch,),
        outcome=TrialOutcome(train_seconds=seconds, best_epoch=1),
    )  # fmt: skip


TASK = Task(
    name="t", fingerprint="ab" * 32, classes=("0", "1"), splits=SplitSizes(train=60, validation=20, test=20),
    channels=1, resolution=32, channel_mean=(0.5,), channel_std=(0.5,),
)  # fmt: skip
NOTHING = Costs.known(TASK, [])


class Begun(TimePlan):
    """A plan at its beginning: all of its time is left."""

    def left(self) -> float:
        return self.seconds - SHIPPING


def plan(*, refit: bool = False) -> TimePlan:
    return Begun(0.0, 600.0, SearchSpec(confirm=3, confirm_runs=4), TASK, refit)


def test_trials_end_early_enough_for_the_confirmation_of_the_best_and_for_shipping() -> None:
    assert plan().search_ends([], NOTHING) == 600 - SHIPPING
    cheap = [record(at, 0.9 - at / 100, 5.0) for at in range(4)]
    assert plan().search_ends(cheap, NOTHING) == 600 - SHIPPING - (4 + 2 + 2) * 5
    # Runs that are done are not waited for, and say what the others take.
    done = [ExtraRun(kind="confirm", root=0, run=at, seed=1, epoch=1, images=4, accuracy=0.9,
                     balanced_accuracy=0.9, macro_f1=0.9, nll=0.1, seconds=7.0) for at in range(2)]  # fmt: skip
    assert plan().search_ends(cheap, Costs.known(TASK, done)) == 600 - SHIPPING - 2 * 7 - 4 * 5
    dear = [record(at, 0.9 - at / 100, 90.0) for at in range(4)]
    assert plan().search_ends(dear, NOTHING) == pytest.approx(600 - SHIPPING - 600 * CONFIRMED)
    # Where two runs of the best alone do not fit into its share, confirmation would say nothing.
    dearer = [record(at, 0.9 - at / 100, 110.0) for at in range(4)]
    assert plan().search_ends(dearer, NOTHING) == 600 - SHIPPING


def test_a_refit_is_a_training_that_has_its_place_in_the_plan() -> None:
    records = [record(0, 0.9, 60.0)]
    assert plan(refit=True).shipping_begins(records) == pytest.approx(600 - SHIPPING - 60 * (1 + 20 / 60))
    assert plan().shipping_begins(records) == 600 - SHIPPING
    # It is given up where it takes longer than planned, unless somebody insists on it.
    assert plan(refit=True).refit_ends() == math.inf
    assert plan().refit_ends() == pytest.approx(max(600.0, time.monotonic()) + 0.05 * 600, abs=5)
    # Where nobody insists on it or forbids it, it has its place as long as it takes no more than its share.
    undecided = Begun(0.0, 600.0, SearchSpec(confirm=3, confirm_runs=4), TASK, None)
    most = REFITTED * 600 / (1 + 20 / 60)
    for seconds, refits in ((most - 1, True), (most + 1, False)):
        assert undecided.refits(record(0, 0.9, seconds)) is refits
    # It ends at the epoch that its trial kept.
    early = record(0, 0.9, 60.0)
    later = [early.epochs[0].model_copy(update={"epoch": at, "accuracy": 0.5}) for at in (2, 3, 4)]
    early = early.model_copy(update={"epochs": (*early.epochs, *later)})
    assert plan(refit=True).shipping_begins([early]) == pytest.approx(600 - SHIPPING - 60 / 4 * (1 + 20 / 60))
    # Of an ensemble that must be refitted, each network is.
    four = [record(at, 0.9 - at / 100, 30.0) for at in range(6)]
    several = dataclasses.replace(plan(refit=True), search=SearchSpec(confirm=3, ship_as="ensemble"))
    assert several.shipping_begins(four) == pytest.approx(600 - SHIPPING - 4 * 30 * (1 + 20 / 60))
    # One that is dear and not the best keeps no time from confirmation; should it win, it is refitted if it fits.
    cheap, dear = record(0, 0.95, 2.0), record(1, 0.9, 150.0)
    assert undecided.shipping_begins([cheap, dear]) == pytest.approx(600 - SHIPPING - 2 * (1 + 20 / 60))
    # Once it leads the confirmation, time is kept for it.
    assert undecided.shipping_begins([cheap, dear], dear.root) == pytest.approx(600 - SHIPPING - 150 * 4 / 3)
    for began, refits in ((0.0, True), (-450.0, False)):
        now = TimePlan(time.monotonic() + began, 600.0, undecided.search, TASK, None)
        assert now.refits_now(dear) is refits
        assert now.refits_now(cheap)
    # One for which time was kept may end a little late, but does not begin where it would be given up.
    middle = record(0, 0.9, 80.0)
    for left, refits in ((120.0, True), (90.0, True), (50.0, False)):
        now = TimePlan(time.monotonic() - 600.0 + SHIPPING + left, 600.0, undecided.search, TASK, None)
        assert now.refits_now(middle) is refits
    # For a refit that there is no time for any more none is kept: trials and confirmation have it.
    dear = record(0, 0.9, 180.0)
    for began, kept in ((0.0, 180 * 4 / 3), (-400.0, 0.0)):
        now = TimePlan(time.monotonic() + began, 600.0, undecided.search, TASK, None)
        assert now.ends - now.shipping_begins([dear]) == pytest.approx(SHIPPING + kept)


def test_judging_under_attack_takes_its_steps() -> None:
    found = record(0, 0.9, 1.0)
    epochs = tuple(each.model_copy(update={"other": 0.8}) for each in found.epochs)
    assert found.outcome is not None
    outcome = found.outcome.model_copy(update={"predict_ms_per_image": 100.0})
    slow = found.model_copy(update={"outcome": outcome, "epochs": epochs})
    attacked = TASK.model_copy(update={"metric": "robust-8"})
    plans = [dataclasses.replace(plan(), task=task) for task in (TASK, attacked)]
    passes = [600 - SHIPPING - each.shipping_begins([slow]) for each in plans]
    assert passes == pytest.approx([4.0, 4.0 * (1 + ATTACKED * 10)])


def test_trials_have_half_of_the_time_whatever_comes_after_them() -> None:
    undecided = Begun(0.0, 600.0, SearchSpec(confirm=3, confirm_runs=4), TASK, None)
    records = [record(at, 0.9 - at / 100, 45.0) for at in range(4)]
    refit = 45.0 * (1 + 20 / 60)
    assert undecided.search_ends(records, NOTHING) == pytest.approx(600 - SHIPPING - refit - 600 * CONFIRMED)
    dearer = [record(at, 0.9 - at / 100, 100.0) for at in range(4)]
    assert undecided.search_ends(dearer, NOTHING) >= 300


def test_the_better_ones_are_confirmed_where_not_all_fit_never_the_cheap_ones_alone() -> None:
    """A confirmed strategy is ranked before one that is not, so a cheap one would win by being cheap."""
    dear, cheap = record(0, 0.9, 100.0), record(1, 0.8, 0.1)
    now = time.monotonic()
    assert _in_time([dear, cheap], NOTHING, now + 1000) == [dear, cheap]
    assert _in_time([dear, cheap], NOTHING, now + 10) == [dear]
    assert _in_time([cheap, dear], NOTHING, now + 10) == [cheap]


# Searches.


def test_what_there_was_no_time_for_is_said_and_report_goes_on_with_it(tmp_path: Path) -> None:
    result = run(tmp_path, spec(minutes=AT_ONCE))
    assert result.finished
    assert result.reason == TIME_UP
    assert result.recipe is not None
    assert result.ranking is not None
    found = result.ranking.confirmation
    assert found is not None
    assert (found.done, found.planned, found.stopped) == (0, 2, TIME_UP)
    assert json.loads((tmp_path / "out" / "ranking.json").read_text())["confirmation"]["stopped"] == TIME_UP
    undone = "Confirmation: 0 of at least 2 trainings are done, the time of the search is used up"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert undone in page

    assert "--confirm` goes on" in page
    done = command("report", "--confirm", SPEC.name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "confirmed accuracy" in done.stdout
    assert "Confirmation:" not in done.stdout
    assert "is up to date" in done.stderr
    ranking = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert ranking["confirmation"]["done"] == ranking["confirmation"]["planned"] == 2
    assert ranking["rows"][0]["confirmation"]["runs"] == 2
    assert len(ranking["test_looks"]) == 1  # the same winner: nothing was looked at again
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert undone not in page
    assert "confirmed" in page


def test_with_little_time_smaller_images_are_read_and_that_is_said(tmp_path: Path) -> None:
    """One minute on 3,000 photographs took 2.4: the first head's pass cannot be given up."""
    done = command(
        "search", "digits?per_class=20", "--set", "task.resolution=64", "--minutes", str(AT_ONCE),
        "--confirm", "off", "--output", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "there is little time: the first answer reads images x0.5" in done.stdout
    (row,) = json.loads((tmp_path / "out" / "ranking.json").read_text())["rows"]
    assert "images x0.5" in row["description"]
    assert (tmp_path / "out" / "model" / "model.json").is_file()


def test_a_study_gets_an_answer_whatever_the_time_also_from_a_trial_that_trains(tmp_path: Path) -> None:
    """The first trial was released when the time was up, and nothing shipped where none had been solved."""
    result = run(tmp_path, spec(minutes=AT_ONCE, profile=False, max_epochs=9, confirm=0))
    assert result.recipe is not None
    with Store.open(StoreURL.parse(str(tmp_path / "study.db"))) as store:
        (only,) = Trials(store).records(store.study(SPEC.name))
    assert (only.state, len(only.epochs)) == (TrialState.COMPLETE, 1)
    assert only.stop is not None
    assert only.stop.detail == f"{TIME_UP} after epoch 1 of 9, and nothing else is complete"
    assert verify(tmp_path / "out" / "best_strategy.json", device="cpu").word == "identical"


def test_launched_workers_give_an_answer_and_leave(tmp_path: Path) -> None:
    done = command(
        "search", "digits?per_class=20", "--study-name", "n", "--set", "search.max_epochs=2", "--confirm", "2",
        "--minutes", str(AT_ONCE), "--output", "out", "--workers", "2", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f": {TIME_UP}, but for what confirmation and shipping may take\n" in done.stdout
    assert "Confirmation: 0 of at least " in done.stdout
    assert (tmp_path / "out" / "model" / "model.json").is_file()


def create_without_time(folder: Path, name: str, trials: int) -> None:
    made = command(
        "study", "create", "digits?per_class=20", "--study-name", name, "--set", f"search.trials={trials}",
        "--set", "search.max_epochs=2", "--set", f"search.minutes={AT_ONCE}", "--output", "out", cwd=folder,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr


def test_a_worker_process_leaves_a_study_with_minutes(tmp_path: Path) -> None:
    create_without_time(tmp_path, "w", trials=50)
    done = command("worker", "w", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(f"left after 1 trials: {TIME_UP}\n")  # a study gets an answer


def test_workers_as_threads_leave_a_study_with_minutes(tmp_path: Path) -> None:
    """They did not know the time, and went on to the end of the budget."""
    create_without_time(tmp_path, "t", trials=6)
    done = command("launch", "t", "--workers", "2", "--launcher", "inprocess", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(command("status", "t", "--json", cwd=tmp_path).stdout)
    assert told["counts"]["complete"] == 1


# C5 and C8: what ends a confirmation, and what does not.


def test_a_confirmation_run_that_fails_is_said_and_shipping_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C5: a DataError ended the search, with nothing shipped."""
    from automl_transfer.api import evidence

    confirm = evidence._confirm
    told: list[str] = []

    def fail(bench: Any, pool: Any, trial: TrialRecord, number: int) -> ExtraRun:
        if trial.root == 0:
            raise DataError("an image is gone")
        return confirm(bench, pool, trial, number)

    class Events(SearchEvents):
        def on_confirmation_failed(self, failed: Any) -> None:
            told.append(f"{failed.root} {failed.reason}")

    monkeypatch.setattr(evidence, "_confirm", fail)
    result = run(tmp_path, SPEC, events=Events())
    assert result.recipe is not None
    assert len(told) == 1
    assert told[0].startswith("0 ")
    assert "an image is gone" in told[0]
    ranking = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert [failed["root"] for failed in ranking["confirmation"]["failed"]] == [0]
    said = command("report", SPEC.name, cwd=tmp_path).stdout
    assert "Trial 0 could not be confirmed, run 1 failed: " in said
    assert "an image is gone" in said
    # Another call tries it again, and a success takes the failure away.
    monkeypatch.setattr(evidence, "_confirm", confirm)
    again = run(tmp_path, SPEC)
    assert again.ranking is not None
    assert again.ranking.confirmation is not None
    assert again.ranking.confirmation.failed == ()
    assert {row.root_trial for row in again.ranking.rows if row.confirmation} >= {0}


class Asks(SearchEvents):
    """Asks to stop from Python, without a signal, once something happens."""

    def __init__(self, moment: str) -> None:
        self.stop = StopRequest()
        setattr(self, moment, lambda *told: self.stop.ask("I have seen enough"))


@pytest.mark.parametrize("moment", ["on_study", "on_confirmation"])
def test_any_request_to_stop_is_obeyed_everywhere(tmp_path: Path, moment: str) -> None:
    """C8: only signals ended confirmation and shipping."""
    events = Asks(moment)
    result = run(tmp_path, SPEC, stop=events.stop, events=events)
    assert (result.interrupted, result.shipped, result.reason) == (True, None, "I have seen enough")
    assert not (tmp_path / "out" / "best_strategy.json").exists()


# B9 and C3: what was looked at.


def confirmed(root: int, number: int, accuracy: float) -> ExtraRun:
    from automl_transfer.domain.evidence import pack_bits

    right = [at < accuracy * 40 for at in range(40)]
    return ExtraRun(
        kind="confirm", root=root, run=number, seed=1, epoch=0, images=40, accuracy=accuracy,
        balanced_accuracy=accuracy, macro_f1=accuracy, nll=0.1, seconds=1.0, judged=pack_bits([True] * 40),
        correct=pack_bits(right),
    )  # fmt: skip


def test_a_second_look_at_the_test_split_is_counted_and_said(tmp_path: Path) -> None:
    """B9: a search that went on and changed its winner looked again, without a word."""
    first = run(tmp_path, spec(confirm=0))
    assert first.ranking is not None
    assert first.ranking.best is not None
    best, other = (row.root_trial for row in first.ranking.rows[:2])
    with Store.open(StoreURL.parse(str(tmp_path / "study.db"))) as store:
        evidence, handle = Evidence(store), store.study(SPEC.name)
        assert [look.root for look in evidence.looks(handle)] == [best]
        for number in range(2):
            evidence.add_run(handle, confirmed(best, number, 0.5))
            evidence.add_run(handle, confirmed(other, number, 0.9))
        second = run(tmp_path, spec(confirm=0))
        assert second.recipe is not None
        assert second.recipe.provenance.root_trial == other
        assert [look.root for look in evidence.looks(handle)] == [best, other]
        (
            tmp_path / "out" / "best_strategy.json"
        ).unlink()  # shipped again: the same model is not judged again
        third = run(tmp_path, spec(confirm=0))
        assert third.recipe is not None
        assert third.recipe.metrics.test == second.recipe.metrics.test
        assert [look.root for look in evidence.looks(handle)] == [best, other]
    ranking = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert [look["root"] for look in ranking["test_looks"]] == [best, other]
    said = command("report", SPEC.name, cwd=tmp_path).stdout
    assert "On the test split, looked at twice, the winner has accuracy" in said
    assert f"Its looks were trial {best} " in said
    assert "looked at twice" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_errors_of_a_refitted_winner_are_those_it_made_before(tmp_path: Path) -> None:
    """C3: errors on images that the model had trained on were shown as held out."""
    task = {"dataset": "digits?per_class=20", "splits": {"train": 0.7, "validation": 0.3, "test": 0.0}}
    study = spec(confirm=0, trials=1).model_copy(update={"task": TaskSpec.model_validate(task)})
    plain = run(tmp_path, study, refit=False)
    assert plain.shipped is not None
    assert plain.shipped.report.winner is not None
    held_out = (tmp_path / "out" / "errors.json").read_text()
    refit = run(tmp_path, study, refit=True)
    assert refit.recipe is not None
    assert refit.recipe.training.refit
    assert refit.shipped is not None
    assert refit.shipped.report.winner == plain.shipped.report.winner
    assert (tmp_path / "out" / "errors.json").read_text() == held_out
    model = json.loads((tmp_path / "out" / "model" / "model.json").read_text())
    assert model["calibration"]["images"] == plain.shipped.report.winner.images
    # `verify` compared nothing, and called that "within the tolerance".
    document = json.loads((tmp_path / "out" / "best_strategy.json").read_text())
    document["training"]["weights_sha256"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(document))
    verdict = verify(tmp_path / "other.json", study.task, device="cpu")
    assert verdict.word == "outside"
    assert any("no images to compare" in why for why in verdict.differences)
    with pytest.raises(ConfigurationError, match=r"tolerance must lie in 0\.\.1, got nan"):
        verify(tmp_path / "other.json", study.task, device="cpu", tolerance=float("nan"))
