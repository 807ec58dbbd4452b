"""Confirmation and audit on real images: what is trained, what is kept, and how it goes on."""

from __future__ import annotations

import base64
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from watched import Watched

from automl_transfer.aborting import Aborted, abortable
from automl_transfer.api import search
from automl_transfer.api.evidence import audit_pruned, audited, confirm_best
from automl_transfer.api.finish import finish_search
from automl_transfer.api.report import ERRORS, PAGE, read_report
from automl_transfer.api.training import RECIPE
from automl_transfer.cli.main import app
from automl_transfer.data.folds import resplit_rows
from automl_transfer.domain.evidence import ExtraRun
from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.recipes.best_strategy import read_recipe
from automl_transfer.recipes.output import Owner, mark_output_folder
from automl_transfer.reporting.figures.pruning_audit import audit
from automl_transfer.search.workbench import Workbench
from automl_transfer.store import tables as t
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.training.feature_bank import FeatureBanks

SPEC = StudySpec(
    name="evidence",
    task=TaskSpec(dataset="digits?per_class=20"),
    search=SearchSpec(trials=6, max_epochs=3, startup_trials=6, confirm=0, pruner="asha", stop_when="budget"),
    space={"truncation": (3, 4), "tune_mode": ("head", "suffix"), "learning_rate": (1e-4, 1e-2)},
)


class Study:
    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self.url = StoreURL.parse(str(folder / "study.db"))
        search(SPEC, storage=self.url, output=self.out, device="cpu")
        self.store = Store.open(self.url)
        self.handle = self.store.study(SPEC.name)
        self.bench = Workbench.open(self.handle, device="cpu")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    made = Study(tmp_path_factory.mktemp("evidence"))
    yield made
    made.store.close()
    torch.set_num_threads(before)


def test_confirmation_and_its_end(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one test, because each part starts from what the one before left in the store."""
    report = read_report(study.store, SPEC.name)
    assert report.ranking.best is not None
    assert report.ranking.best.confirmation is None
    assert report.profiles
    test_rows = set(study.bench.task.indices["test"].tolist())
    watched = Watched(study.bench.task.images)
    monkeypatch.setattr(study.bench, "task", dataclasses.replace(study.bench.task, images=watched))

    # Stopped after two runs and called again, it does what one call does.
    done: list[ExtraRun] = []
    with abortable(lambda: len(done) >= 2), pytest.raises(Aborted):
        confirm_best(study.store, study.bench, strategies=2, max_runs=3, on_run=done.append)
    assert len(Evidence(study.store).runs(study.handle)) == len(done)
    runs = confirm_best(study.store, study.bench, strategies=2, max_runs=3)
    assert confirm_best(study.store, study.bench, strategies=2, max_runs=3, on_run=done.append) == runs
    assert {(r.root, r.run) for r in done} <= {(r.root, r.run) for r in runs}
    assert watched.seen == set(resplit_rows(study.bench.task).tolist())
    assert not watched.seen & test_rows

    # Runs of one number share seed and images; runs of another number have others.
    first, second = sorted({run.root for run in runs})
    by = {(run.root, run.run): run for run in runs}
    assert by[first, 0].seed == by[second, 0].seed != by[first, 1].seed
    assert by[first, 0].judged == by[second, 0].judged != by[first, 1].judged
    assert not {run.seed for run in runs} & {SPEC.search.seed}

    ranking = read_report(study.store, SPEC.name).ranking
    confirmed = [row for row in ranking.rows if row.confirmation]
    assert [row.rank for row in confirmed] == [1, 2]
    best = confirmed[0].confirmation
    assert best is not None
    assert best.runs == 3
    assert best.interval[0] <= best.accuracy <= best.interval[1]
    assert confirmed[0].set == "a"

    # The images that the search validated on are judged as others are, and left out of what is said.
    of_best = [run for run in runs if run.root == confirmed[0].root_trial]
    assert len({run.chose for run in runs}) == 1
    chose = _set_bits(of_best[0].chose)
    judged = [_set_bits(run.judged) for run in of_best]
    assert len(chose) == len(study.bench.task.indices["validation"])
    assert best.images == len(set().union(*judged) - chose)
    assert best.left_out == len(set().union(*judged) & chose) > 0
    for run, rows in zip(of_best, judged, strict=True):
        assert run.unseen is not None
        right = _set_bits(run.correct) - chose
        assert run.unseen.accuracy == pytest.approx(len(right) / len(rows - chose))


def _set_bits(text: str) -> set[int]:
    return set(np.flatnonzero(np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))).tolist())


def test_a_run_is_the_same_again(study: Study) -> None:
    """Seeds and splits are of the study: another machine would get the same run."""
    from automl_transfer.api.evidence import _confirm
    from automl_transfer.training.activation_cache import MemoryCache
    from automl_transfer.training.feature_bank import ResplitFeatures

    record = next(r for r in Trials(study.store).records(study.handle) if r.state is TrialState.COMPLETE)
    bench = study.bench
    pools = (ResplitFeatures(bench.task, cache) for cache in (MemoryCache(0), bench.activations))
    one, other = (_confirm(bench, pool, record, 1) for pool in pools)
    assert one.model_copy(update={"seconds": 0.0}) == other.model_copy(update={"seconds": 0.0})


def test_the_winner_ships_with_its_errors_and_a_page(study: Study) -> None:
    result = search(SPEC, storage=study.url, output=study.out, device="cpu")
    assert result.shipped is not None
    report = result.shipped.report
    assert report.winner is not None
    assert report.winner.split == "validation"
    assert sum(number for _, _, number in report.winner.confusion) == report.winner.images
    assert sum(each.images for each in report.winner.calibration) == report.winner.images
    assert report.winner.wrong == sum(
        number for truth, answer, number in report.winner.confusion if truth != answer
    )
    assert len(report.winner.worst) == min(12, report.winner.wrong)
    page = (study.out / PAGE).read_text(encoding="utf-8")
    assert "What the winner gets wrong" in page
    assert str(study.out) not in page
    # A file that belongs to another winner is not shown as this one's.
    text = (study.out / ERRORS).read_text(encoding="utf-8")
    other = text.replace(f'"root_trial": {report.winner.root_trial},', '"root_trial": 99,')
    (study.out / ERRORS).write_text(other, encoding="utf-8")
    assert read_report(study.store, SPEC.name).winner is None
    (study.out / ERRORS).write_text(text, encoding="utf-8")


def test_a_model_that_is_not_found_is_said_not_to_be_up_to_date(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `study create --artifacts` the folder around these was taken for the run's, and nothing was said."""

    def confirmed() -> str:
        line = ["report", SPEC.name, "--confirm", "1", "--storage", str(study.url), "--device", "cpu"]
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
        return result.output

    search(SPEC, storage=study.url, output=study.out, device="cpu")
    monkeypatch.chdir(tmp_path)
    shared = tmp_path / "shared"
    mark_output_folder(shared, Owner("another", "0" * 32, study.store.fingerprint))
    shutil.copy(study.out / ERRORS, shared / ERRORS)
    with study.store.engine.begin() as connection:
        connection.execute(t.at_studies.update().values(artifact_url=str(shared / "artifacts")))
    try:
        assert "so none was brought up to date: 'automl-transfer export evidence --output DIR'" in confirmed()
        assert read_report(study.store, SPEC.name).winner is None
        assert {path.name for path in shared.iterdir()} == {"run.json", ERRORS}
        # Where search writes by default it is looked for, too.
        aside = shutil.ignore_patterns("artifacts")
        shutil.copytree(study.out, tmp_path / "runs" / SPEC.name, ignore=aside)
        assert f"runs/{SPEC.name}/ is up to date" in confirmed()
        assert read_report(study.store, SPEC.name).winner is not None
    finally:
        with study.store.engine.begin() as connection:
            connection.execute(t.at_studies.update().values(artifact_url=study.handle.artifact_url))


def test_stored_weights_ship_without_a_pass_over_the_training_images(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    from automl_transfer.transfer.heads import HeadInput

    def refuse(*_: object) -> None:
        raise AssertionError("the head was solved again")

    def ship_again() -> str:
        (study.out / RECIPE).unlink()  # what was shipped before is left alone
        finish_search(study.store, study.bench, study.out, refit=False)
        return read_recipe(study.out / RECIPE).training.weights_sha256

    search(SPEC, storage=study.url, output=study.out, device="cpu", refit=False)
    before = read_recipe(study.out / RECIPE)
    assert before.strategy.head_init == "ridge"
    with monkeypatch.context() as patched:
        patched.setattr(HeadInput, "compute", refuse)
        patched.setattr(FeatureBanks, "features", refuse)
        assert ship_again() == before.training.weights_sha256
    for file in (study.out / "artifacts").rglob("model-*.safetensors"):  # gone: trained again, the same
        file.unlink()
    assert ship_again() == before.training.weights_sha256


def test_an_audit_runs_pruned_trials_to_their_end_once(study: Study) -> None:
    trials = Trials(study.store)
    records = trials.records(study.handle)
    chosen = audited(records, SPEC.search.seed)
    pruned = sorted(r.number for r in records if r.state is TrialState.PRUNED)
    assert sorted(r.number for r in chosen) == pruned
    assert pruned, "this study is made so that something is pruned"
    waits = StopReason(kind=StopKind.PAUSED)  # what may go on has not been denied its end
    assert audited([r.model_copy(update={"stop": waits}) for r in records], SPEC.search.seed) == []
    done: list[ExtraRun] = []
    runs = audit_pruned(study.store, study.bench, trials=1, on_run=done.append)
    assert [run.root for run in runs] == [chosen[0].root]
    again = audit_pruned(study.store, study.bench, trials=len(chosen), on_run=done.append)
    assert len(done) == len(again) == len(chosen)
    # Its first epochs are those of the trial: the search's own seed and split.
    found = audit(read_report(study.store, SPEC.name))
    assert found is not None
    assert found.pruned == len(pruned)
    for record, _, run in found.trials:
        assert run.accuracy >= max(e.accuracy for e in record.epochs) - 1e-9
        assert run.epoch <= SPEC.search.max_epochs
    assert 0 <= found.interval[0] <= found.wrong / len(found.trials) <= found.interval[1] <= 1


def test_a_run_that_a_newer_program_kept_is_not_trained_again_and_again(study: Study) -> None:
    evidence, trained = Evidence(study.store), list[ExtraRun]()
    confirm_best(study.store, study.bench, strategies=1, max_runs=2)
    with study.store.engine.begin() as connection:
        written = t.at_confirmations.update().where(t.at_confirmations.c.run == 0)
        connection.execute(written.values(result='{"joules": 3}'))
    after = confirm_best(study.store, study.bench, strategies=1, max_runs=2, on_run=trained.append)
    assert [run.run for run in trained] == [0]
    assert after == evidence.runs(study.handle, "confirm")
    assert 0 not in {run.run for run in after}
