"""One worker of two processes that train each model together, as two GPUs would, over gloo."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from worker_helpers import Process, strategy, tiny_study, until

from automl_transfer.cli.main import main
from automl_transfer.domain.records import EpochResult, StopKind, TrialState
from automl_transfer.domain.strategy import Strategy

Start = Callable[..., Process]

TOGETHER = ("worker", "tiny", "--devices", "2", "--threads", "2", "--device", "cpu")
SHARD = pytest.mark.parametrize("shard", ["ddp", "fsdp"])
TRAINED = Strategy(
    truncation=3, tune_mode="suffix", freeze_depth=1, head_init="he", learning_rate=1e-3, norm_policy="frozen",
    batch=32, label_smoothing=0.1, anchor="l2sp", anchor_weight=0.001,
).canonical()  # fmt: skip
OPEN = dict.fromkeys(
    ("tune_mode", "freeze_depth", "norm_policy", "batch", "label_smoothing", "anchor", "anchor_weight"),
    "search",
)


def curve(url: str, folder: Path, start: Start, *command: str) -> list[EpochResult]:
    with tiny_study(url, folder, [TRAINED], max_epochs=4, extra_space=OPEN) as study:
        worker = start(url, *command)
        assert worker.wait() == 0, worker.said()
        (record,) = study.records()
        assert record.state is TrialState.COMPLETE, record.stop
        return list(record.epochs)


@SHARD
def test_two_devices_have_the_losses_of_one(tmp_path: Path, start: Start, shard: str) -> None:
    one, two = (
        curve(f"sqlite:///{tmp_path / name}.db", tmp_path / name, start, *command)
        for name, command in (
            ("one", ("worker", "tiny", "--threads", "1")), ("two", (*TOGETHER, "--shard", shard)),
        )
    )  # fmt: skip
    assert [epoch.epoch for epoch in two] == [1, 2, 3, 4]
    for alone, together in zip(one, two, strict=True):
        assert together.train_loss == pytest.approx(alone.train_loss, rel=1e-4)
        assert together.validation_loss == pytest.approx(alone.validation_loss, rel=1e-3)
    assert one[-1].train_loss < one[0].train_loss


@SHARD
def test_it_gives_back_and_one_device_goes_on(tmp_path: Path, start: Start, shard: str) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy()], max_epochs=60) as study:
        first = start(url, *TOGETHER, "--shard", shard)
        until(lambda: study.epoch_of() >= 3, first)
        first.signal(signal.SIGTERM)
        assert first.wait() == 130, first.said()
        (record,) = study.records()
        assert record.state is TrialState.WAITING
        second = start(url, "worker", "tiny", "--threads", "1")
        assert second.wait() == 0, second.said()
        assert "goes on after epoch" in second.said()
        (record,) = study.records()
    assert record.state is TrialState.COMPLETE
    assert record.outcome is not None
    assert not record.outcome.identical
    assert [epoch.epoch for epoch in record.epochs] == list(range(1, 61))


def member_of(url: str, rank: str) -> psutil.Process:
    """The process that was started for a member; whoever kills it kills what it stands for."""
    (found,) = [
        each for each in psutil.process_iter(["environ"])
        if (variables := each.info["environ"] or {}).get("RANK") == rank
        and variables.get("AUTOML_TRANSFER_STORAGE") == url
    ]  # fmt: skip
    return found


@SHARD
def test_a_device_that_dies_fails_the_trial_which_is_tried_again(
    tmp_path: Path, start: Start, shard: str
) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy()], max_epochs=60) as study:
        launch = start(
            url, "launch", "tiny", "-n", "1", "--devices", "2", "--shard", shard, "--threads", "2", "--device", "cpu"
        )  # fmt: skip
        until(lambda: study.epoch_of() >= 3, launch)
        member_of(url, "1").kill()
        assert launch.wait() == 0, launch.said()
        lost, child = study.records()
    assert (lost.state, child.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert lost.stop is not None
    assert lost.stop.kind is StopKind.DATA
    assert "all 2 devices must train to the end" in lost.stop.detail
    assert (child.root, child.attempt) == (0, 1)


@SHARD
def test_what_ends_a_trial_early_ends_it_on_all(tmp_path: Path, start: Start, shard: str) -> None:
    """Losses that are not finite, a pruner that stops, a pause at a rung: nobody waits for the others."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    wild = Strategy(
        truncation=3, tune_mode="bias", optimizer="sgd", learning_rate=10.0, head_lr_mult=1000.0, weight_decay=1.0,
        schedule="constant", warmup=0.0, batch=8, head_init="he",
    ).canonical()  # fmt: skip
    strategies = [strategy(1e-2), wild, strategy(1e-6), strategy(2e-6), strategy(3e-3)]
    more = dict.fromkeys(
        ("tune_mode", "optimizer", "head_lr_mult", "weight_decay", "schedule", "warmup", "batch"), "search"
    )
    with tiny_study(url, tmp_path, strategies, max_epochs=9, pruner="promote", extra_space=more) as study:
        worker = start(url, *TOGETHER, "--shard", shard)
        assert worker.wait() == 0, worker.said()
        records = {record.number: record for record in study.records()}
    states = [records[number].state for number in range(5)]
    assert states.count(TrialState.FAIL) == 1
    assert records[1].stop is not None
    assert records[1].stop.kind is StopKind.NOT_A_NUMBER
    assert TrialState.COMPLETE in states
    assert TrialState.PRUNED in states


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (("--devices", "64", "--device", "cuda"), {}, "--devices must be at most the GPUs of this machine, got 64"),
        (("--devices", "2", "--device", "cuda:1"), {}, "takes --device auto, cpu or cuda, of which each has its own"),
        (("--devices", "2", "--shard", "zero"), {}, "--shard must be one of ddp, fsdp, got 'zero'"),
        (("--shard", "fsdp"), {}, "--shard fsdp shares weights between devices, got --devices 1"),
        (("--devices", "2"), {"RANK": "0", "WORLD_SIZE": "2"}, "RANK and WORLD_SIZE must come from torchrun"),
        (("--devices", "2"), {"RANK": "0", "WORLD_SIZE": "3"}, "got 2 where WORLD_SIZE is 3"),
    ],
)  # fmt: skip
def test_devices_that_cannot_be_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    environment: dict[str, str],
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as left:
        main(["worker", "tiny", "--storage", f"sqlite:///{tmp_path}/s.db", *options])
    assert left.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--devices", "64", "--device", "cuda"),
            "--devices must be at most the GPUs of this machine, got 64",
        ),
        (
            ("--devices", "2", "--device", "cuda:1"),
            "takes --device auto, cpu or cuda, of which each has its own",
        ),
        (("--devices", "2", "--shard", "zero"), "--shard must be one of ddp, fsdp, got 'zero'"),
        (("--shard", "fsdp"), "--shard fsdp shares weights between devices, got --devices 1"),
    ],
)
def test_a_search_refuses_such_devices_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["search", "digits", "--storage", f"sqlite:///{tmp_path}/s.db", *options])
    assert left.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_one_command_searches_with_two_devices_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers of several devices had to be started beside a search, by hand."""
    settings = (
        "space.truncation=3", "space.tune_mode=full", "space.norm_policy=frozen", "space.head_init=he",
        "space.learning_rate=1e-3", "space.batch=32", "search.max_epochs=1", "search.profile=false",
        "search.default_first=false", "search.start=cold",
    )  # fmt: skip
    search = (
        "search", "digits?per_class=20", "--storage", f"sqlite:///{tmp_path}/s.db", "--trials", "1",
        "--confirm", "off", "--no-refit", "--no-doctor", "--devices", "2", "--device", "cpu",
        "--output", f"{tmp_path}/out", *(each for setting in settings for each in ("--set", setting)),
    )  # fmt: skip
    with pytest.raises(SystemExit) as left:
        main([*search])
    assert left.value.code in (None, 0), capsys.readouterr().err
    recipe = json.loads((tmp_path / "out" / "best_strategy.json").read_text())
    assert recipe["training"]["conditions"]["devices"] == 2


def test_without_a_study_all_members_leave_and_one_says_why(tmp_path: Path, start: Start) -> None:
    worker = start(f"sqlite:///{tmp_path}/none.db", *TOGETHER)
    assert worker.wait() == 2, worker.said()
    (line,) = worker.said().splitlines()
    assert line.startswith("error: a study must exist, got no database at")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("member", [True, False])
def test_a_member_ends_before_its_interpreter_is_taken_down(member: bool) -> None:
    """torch's threads may abort that; whatever was registered for the end of the process is done."""
    code = f"""
import atexit, sys
from automl_transfer.cli import main
{"import automl_transfer.training.team" if member else ""}
class Kept:
    def __del__(self):
        print("taken down")
kept = Kept()
atexit.register(print, "registered")
sys.argv = ["automl-transfer", "status", "--no-such-option"]
main.run_process()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.splitlines() == ["registered", *([] if member else ["taken down"])]
