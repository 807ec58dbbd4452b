"""`study list | rename | delete | gc` on a real study with files."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner
from worker_helpers import TinyStudy, strategy, tiny_study

from automl_transfer.cli.main import app
from automl_transfer.domain.evidence import ExtraRun, pack_bits
from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialState
from automl_transfer.store import tables as t
from automl_transfer.store.evidence import Evidence
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.worker import Worker


def command(study: TinyStudy, *arguments: str, answer: str | None = None) -> str:
    result = CliRunner().invoke(app, ["study", *arguments, "--storage", study.url], input=answer)
    assert result.exit_code == 0, result.output
    return result.output


def epoch(number: int, accuracy: float) -> EpochResult:
    return EpochResult(
        epoch=number, train_loss=1.0, validation_loss=1.0, accuracy=accuracy, balanced_accuracy=accuracy,
        macro_f1=accuracy, learning_rate=1e-3, seconds=0.1,
    )  # fmt: skip


def confirmation(root: int, run: int) -> ExtraRun:
    return ExtraRun(
        kind="confirm", root=root, run=run, seed=run, epoch=1, images=4, accuracy=0.5, balanced_accuracy=0.5,
        macro_f1=0.5, nll=0.1, seconds=1.0, judged=pack_bits([True] * 4),
        correct=pack_bits([True, False, True, False]),
    )  # fmt: skip


def test_gc_keeps_the_best_and_what_is_open(tmp_path: Path) -> None:
    rates = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy(rate) for rate in rates]) as study:
        Worker(study.store, study.handle, study.bench, stop=StopRequest()).run()
        study.enqueue([strategy(0.5)])
        artifacts = tmp_path / "artifacts" / study.handle.identity
        roots = {record.root for record in study.records()}
        for root in roots | {99}:  # what crashed attempts leave behind, and a trial that just begins
            (artifacts / f"trial-{root:06d}").mkdir(exist_ok=True)
            (artifacts / f"trial-{root:06d}" / "left").write_bytes(b"x" * 1000)
        best = sorted(study.records(), key=lambda r: -(r.value or -1))[:5]
        told = command(study, "gc", "tiny", "--dry-run")
        assert "would free" in told
        assert (artifacts / "trial-000000" / "left").exists()
        assert command(study, "gc", "tiny").startswith("freed")
        kept = {int(path.parent.name[6:]) for path in artifacts.glob("*/left")}
        assert len(kept) == 5 + 2
        assert {7, 99} <= kept
        assert {r.value for r in study.records() if r.root in kept - {7, 99}} == {r.value for r in best}
        assert command(study, "gc", "tiny").startswith("freed 0.0 MB: 0 files")


def test_c12_gc_keeps_what_the_ranking_puts_first(tmp_path: Path) -> None:
    """Confirmed strategies come first there, where the lead of others is the luck of some images."""
    with tiny_study(
        f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy(1e-3 * n) for n in range(1, 8)]
    ) as study:
        for number in range(7):
            value = 0.5 + number / 1000
            claim = study.trials.claim(study.handle, "w")
            assert claim is not None
            study.trials.record_epoch(claim, epoch(1, value), value)
            done = StopReason(kind=StopKind.COMPLETED)
            study.trials.finish(claim, TrialState.COMPLETE, value, done)
        for run in range(2):
            for root in (0, 1):
                Evidence(study.store).add_run(study.handle, confirmation(root, run))
        for root in range(7):
            folder = tmp_path / "artifacts" / study.handle.identity / f"trial-{root:06d}"
            folder.mkdir(parents=True)
            (folder / "model-0.safetensors").write_bytes(b"x")
        command(study, "gc", "tiny")
        assert sorted(int(path.parent.name[6:]) for path in tmp_path.rglob("model-*")) == [0, 1, 4, 5, 6]


def test_d3_gc_of_one_study_leaves_those_of_another_in_the_same_place(tmp_path: Path) -> None:
    """As a renamed study and the next one of its name had it: one artifact folder, the same trial numbers."""
    with tiny_study(
        f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy(10.0**-n) for n in range(7)]
    ) as first:
        first.store.rename("tiny", "first")
        spec = first.handle.spec
        second = TinyStudy(
            first.url,
            first.store,
            first.store.create_study(
                spec, first.task.task, artifact_url=first.handle.artifact_url, sources=first.handle.sources
            ),
            first.task,
        )
        assert second.handle.identity != first.handle.identity
        second.enqueue([strategy(10.0**-n) for n in range(6)])
        for study in (first, second):
            Worker(study.store, study.handle, study.bench, stop=StopRequest()).run()
        for study in (first, second):
            (tmp_path / "artifacts" / study.handle.identity / "trial-000005" / "left").write_bytes(b"x")
        before = {path: path.read_bytes() for path in tmp_path.glob(f"artifacts/{second.handle.identity}/**/*")
                  if path.is_file()}  # fmt: skip
        assert "kept" in command(first, "gc", "first")
        assert {path: path.read_bytes() for path in before} == before


def test_studies_are_listed_renamed_and_deleted(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        assert "tiny" in command(study, "list")
        command(study, "rename", "tiny", "smaller")
        assert "smaller" in command(study, "list")
        command(study, "delete", "smaller", "--yes")
        assert "no studies yet" in command(study, "list")


def test_a_study_is_deleted_where_its_files_cannot_be_reached(tmp_path: Path) -> None:
    """It was deleted, and then an error said that a driver is missing."""
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        with study.store.engine.begin() as connection:
            connection.execute(t.at_studies.update().values(artifact_url="gopher://x"))
        told = command(study, "delete", "tiny", "--yes")
        assert told == f"deleted tiny; its files are still in gopher://x/{study.handle.identity}\n"
        assert "no studies yet" in command(study, "list")


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_delete_asks_first(tmp_path: Path, answer: str) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        result = CliRunner().invoke(app, ["study", "delete", "tiny", "--storage", study.url], input=answer)
        assert result.exit_code == 1
        assert "nothing was deleted" in result.output
        assert len(study.records()) == 1
