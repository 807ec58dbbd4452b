"""`study list | rename | delete | gc` on a real study with files."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner
from worker_helpers import TinyStudy, strategy, tiny_study

from automl_transfer.cli.main import app
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.worker import Worker


def command(study: TinyStudy, *arguments: str, answer: str | None = None) -> str:
    result = CliRunner().invoke(app, ["study", *arguments, "--storage", study.url], input=answer)
    assert result.exit_code == 0, result.output
    return result.output


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


def test_studies_are_listed_renamed_and_deleted(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        assert "tiny" in command(study, "list")
        command(study, "rename", "tiny", "smaller")
        assert "smaller" in command(study, "list")
        command(study, "delete", "smaller", "--yes")
        assert "no studies yet" in command(study, "list")


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_delete_asks_first(tmp_path: Path, answer: str) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()]) as study:
        result = CliRunner().invoke(app, ["study", "delete", "tiny", "--storage", study.url], input=answer)
        assert result.exit_code == 1
        assert "nothing was deleted" in result.output
        assert len(study.records()) == 1
