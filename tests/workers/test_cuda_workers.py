"""Several worker processes on one real GPU, and whole commands on it. Left out where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from worker_helpers import Process, strategy, tiny_study

from automl_transfer.cli.main import main
from automl_transfer.domain.records import TrialState

Start = Callable[..., Process]

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def run(*command: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(list(command))
    assert left.value.code == 0


def test_workers_share_one_gpu(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    strategies = [strategy(rate) for rate in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)]
    with tiny_study(url, tmp_path, strategies) as study:
        launch = start(url, "launch", "tiny", "-n", "3", "--device", "cuda")
        assert launch.wait() == 0, launch.said()
        records = study.records()
    assert [record.state for record in records] == [TrialState.COMPLETE] * 6
    for record in records:
        assert record.outcome is not None
        assert record.outcome.conditions["device"] == torch.cuda.get_device_name()


def test_a_search_on_it_ships_a_model_that_a_processor_runs(tmp_path: Path) -> None:
    out, store = tmp_path / "out", f"sqlite:///{tmp_path / 's.db'}"
    run(
        "search", "digits?per_class=20", "--trials", "4", "--set", "search.max_epochs=3", "--device", "cuda", "-n",
        "2", "--output", str(out), "--storage", store, "--confirm", "1",
    )  # fmt: skip
    accuracies = []
    for device in ("cuda", "cpu"):
        judged = tmp_path / f"{device}.json"
        run("evaluate", str(out), "digits", "--device", device, "--json", str(judged))
        accuracies.append(json.loads(judged.read_text(encoding="utf-8")))
    assert accuracies[0]["accuracy"] == pytest.approx(accuracies[1]["accuracy"], abs=0.01)


def test_one_strategy_by_hand_in_16_bits(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(
        "train", "digits?per_class=20", "--set", "tune_mode=full", "--set", "learning_rate=0.001", "--steps", "50",
        "--device", "cuda", "--precision", "bf16", "--output", str(out),
    )  # fmt: skip
    recipe = json.loads((out / "best_strategy.json").read_text(encoding="utf-8"))
    assert recipe["training"]["conditions"]["precision"] == "bf16"
