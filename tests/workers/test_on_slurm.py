"""Workers as Slurm jobs: really run by submitit's local executor; the script that Slurm is given."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from worker_helpers import Process, strategy, tiny_study, until

from automl_transfer.domain.records import StopKind, TrialState
from automl_transfer.errors import ConfigurationError
from automl_transfer.store.url import StoreURL
from automl_transfer.workers import launchers
from automl_transfer.workers.launcher import WorkerCommand

Start = Callable[..., Process]
POSTGRES = "postgresql://ann:rosebud@db.example/studies"


def job_of(launch: Process) -> psutil.Process:
    """The process of a job that a launch has submitted."""
    (found,) = [
        each for each in psutil.Process(launch.process.pid).children(recursive=True)
        if any("submitit.core._submit" in part for part in each.cmdline())
    ]  # fmt: skip
    return found


def test_a_job_that_is_warned_gives_its_trial_back_and_is_requeued(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy()], max_epochs=300) as study:
        launch = start(
            url, "launch", "tiny", "--launcher", "slurm", "--launcher-set", "cluster=local", "-n", "1",
            "--threads", "1",
        )  # fmt: skip
        until(lambda: study.epoch_of() >= 3, launch)
        job_of(launch).send_signal(signal.SIGUSR2)  # what Slurm sends before it takes the node away
        assert launch.wait() == 0, launch.said()
        (record,) = study.records()
    assert (record.state, record.attempt) == (TrialState.COMPLETE, 0)
    assert [epoch.epoch for epoch in record.epochs] == list(range(1, 301))
    (log,) = tmp_path.rglob("worker-0.log")
    assert "given back" in log.read_text() or "SIGTERM" in log.read_text(), log.read_text()
    assert "goes on after epoch" in log.read_text()


def test_ctrl_c_gives_back_what_jobs_were_at(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy()], max_epochs=10_000) as study:
        launch = start(
            url, "launch", "tiny", "--launcher", "slurm", "--launcher-set", "cluster=local", "-n", "1"
        )
        until(lambda: study.epoch_of() >= 1, launch)
        launch.signal(signal.SIGINT)
        assert launch.wait() == 130, launch.said()
        (record,) = study.records()
    assert record.state is TrialState.WAITING
    assert record.stop is not None
    assert record.stop.kind is StopKind.RELEASED


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that take jobs as Slurm's do, and keep what they were given."""
    programs = tmp_path / "slurm"
    programs.mkdir()
    for name, does in {
        "sbatch": f'cp "$1" {programs}/script; env > {programs}/environment; echo Submitted batch job 77',
        "squeue": "true", "sacct": "true", "srun": "true", "scancel": f"echo $@ >> {programs}/cancelled",
    }.items():  # fmt: skip
        path = programs / name
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return programs


def test_the_script_that_slurm_is_given(slurm: Path, tmp_path: Path) -> None:
    command = WorkerCommand(
        "tiny", StoreURL.parse(POSTGRES), tmp_path / "logs", 8, workers=16,
        settings={"gpus": "1", "minutes": "90", "slurm_partition": "big", "folder": str(tmp_path / "jobs")},
    )  # fmt: skip
    launcher = launchers.make("slurm", command)
    first, second = launcher.start(0), launcher.start(1)
    script = (slurm / "script").read_text()
    for line in (
        "#SBATCH --array=0-15%16", "#SBATCH --cpus-per-task=8", "#SBATCH --gpus-per-node=1",
        "#SBATCH --time=90", "#SBATCH --partition=big", "#SBATCH --signal=USR2@90", "#SBATCH --open-mode=append",
    ):  # fmt: skip
        assert line in script
    assert (first.name, second.name) == ("77_0", "77_1")
    first.ask()
    assert (slurm / "cancelled").read_text() == "77_0\n"
    # The password reaches the jobs through their environment, and no file.
    assert (
        f"AUTOML_TRANSFER_STORAGE={POSTGRES.replace('postgresql:', 'postgresql+psycopg:')}"
        in (slurm / "environment").read_text()
    )
    kept = [path for path in (tmp_path / "jobs").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if b"rosebud" in path.read_bytes()]


@pytest.mark.parametrize(
    ("url", "settings", "said"),
    [
        ("sqlite:///s.db", {}, "must share a PostgreSQL store, got a SQLite file"),
        (POSTGRES, {"gpus": "0.5"}, "Slurm gives whole GPUs, got gpus=0.5"),
        (POSTGRES, {"slurm_colour": "red"}, "settings of Slurm must be ones that submitit has, got .*colour"),
        (POSTGRES, {"partition": "big"}, "must be among .*slurm_.*, got partition"),
    ],
)
def test_settings_that_are_refused(
    url: str, settings: dict[str, str], said: str, slurm: Path, tmp_path: Path
) -> None:
    given = {"folder": str(tmp_path / "jobs"), **settings}
    with pytest.raises(ConfigurationError, match=said):
        launchers.make("slurm", WorkerCommand("tiny", StoreURL.parse(url), tmp_path / "logs", settings=given))


def test_a_machine_without_slurm_is_told(tmp_path: Path) -> None:
    command = WorkerCommand("tiny", StoreURL.parse(POSTGRES), tmp_path / "logs")
    with pytest.raises(ConfigurationError, match=r"must find Slurm .*: run it where jobs are submitted"):
        launchers.make("slurm", command)
