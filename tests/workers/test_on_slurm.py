"""Workers as Slurm jobs: really run by submitit's executors; the script that Slurm is given, and its signals."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from submitit.core.utils import DelayedSubmission
from submitit.slurm.slurm import SlurmJob
from worker_helpers import Process, strategy, tiny_study, until

from automl_transfer.domain.records import StopKind, TrialState
from automl_transfer.errors import ConfigurationError
from automl_transfer.store.url import StoreURL
from automl_transfer.workers import launchers
from automl_transfer.workers.launcher import WorkerCommand
from automl_transfer.workers.launching import LaunchOptions, run_workers
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.supervisor import SupervisorOptions

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
    with tiny_study(url, tmp_path, [strategy()], max_epochs=150) as study:
        launch = start(
            url, "launch", "tiny", "--launcher", "slurm", "--launcher-set", "cluster=local", "-n", "1",
            "--threads", "1",
        )  # fmt: skip
        until(lambda: study.epoch_of() >= 3, launch)
        job_of(launch).send_signal(signal.SIGUSR2)  # what Slurm sends before it takes the node away
        assert launch.wait() == 0, launch.said()
        (record,) = study.records()
    assert (record.state, record.attempt) == (TrialState.COMPLETE, 0)
    assert [epoch.epoch for epoch in record.epochs] == list(range(1, 151))
    (log,) = tmp_path.rglob("worker-0.log")
    assert "SIGUSR1 received" in log.read_text(), log.read_text()
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


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that take jobs as Slurm's do, and keep what they were given."""
    SlurmJob.watcher.clear()  # of all tests in this process
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, does in {
        "sbatch": f'cp "$1" {programs}/script; env > {programs}/environment; echo Submitted batch job 77',
        "squeue": "true", "sacct": "true", "srun": "true", "scancel": f"echo $@ >> {programs}/cancelled",
    }.items():  # fmt: skip
        program(programs / name, f"#!/bin/sh\n{does}\n")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return programs


@pytest.fixture
def full_slurm(slurm: Path) -> Iterator[Path]:
    """With room for one job: the first of an array really runs, the second one waits until it is cancelled.

    As where control groups hold jobs, a signal reaches only what srun has started.
    """
    program(
        slurm / "sbatch",
        f"""#!/bin/sh
cp "$1" {slurm}/script
SLURM_JOB_ID=78 SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=0 sh {slurm}/script > {slurm}/log 2>&1 < /dev/null &
echo Submitted batch job 77
""",
    )
    program(
        slurm / "srun",
        f"""#!{sys.executable}
import os, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a shell has its background jobs ignore
pathlib.Path("{slurm}/task").write_text(str(os.getpid()))
os.execv(sys.argv[6], sys.argv[6:])
""",
    )
    program(
        slurm / "sacct",
        f"""#!/bin/sh
echo 'JobID|State|NodeList'
echo '77_0|RUNNING|a'
if [ -e {slurm}/gone ]; then echo '77_1|CANCELLED by 0|'; else echo '77_1|PENDING|'; fi
""",
    )
    program(
        slurm / "scancel",
        f"""#!/bin/sh
case "$*" in
    *--signal=INT*77_0) kill -INT $(cat {slurm}/task) ;;
    77_0) kill -TERM $(cat {slurm}/task) ;;
    *--state=PENDING*77_1 | 77_1) touch {slurm}/gone ;;
esac
""",
    )
    yield slurm
    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
        task = psutil.Process(int((slurm / "task").read_text()))
        if any("submitit.core._submit" in part for part in task.cmdline()):
            for each in (*task.children(recursive=True), task):
                each.kill()


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
    cancelled = (slurm / "cancelled").read_text().splitlines()
    assert cancelled == ["--quiet --state=PENDING 77_0", "--quiet --signal=INT 77_0"]
    # The password reaches the jobs through their environment, and no file.
    assert (
        f"AUTOML_TRANSFER_STORAGE={POSTGRES.replace('postgresql:', 'postgresql+psycopg:')}"
        in (slurm / "environment").read_text()
    )
    kept = [path for path in (tmp_path / "jobs").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if b"rosebud" in path.read_bytes()]


def test_ctrl_c_gives_back_what_a_job_of_slurm_was_at(
    full_slurm: Path, postgres_url: str, tmp_path: Path, start: Start
) -> None:
    """A plain scancel asked nobody: submitit ignores its SIGTERM, and SIGKILL followed."""
    with tiny_study(postgres_url, tmp_path, [strategy()], max_epochs=10_000) as study:
        launch = start(postgres_url, "launch", "tiny", "--launcher", "slurm", "-n", "2")
        until(lambda: study.epoch_of() >= 1, launch)
        launch.signal(signal.SIGINT)
        assert launch.wait() == 130, launch.said()
        (record,) = study.records()
    assert (record.state, record.attempt) == (TrialState.WAITING, 0)
    assert record.stop is not None
    assert record.stop.kind is StopKind.RELEASED
    assert (full_slurm / "gone").exists()
    assert "killed" not in launch.said()


def test_a_finished_study_waits_for_no_job_in_the_queue(
    full_slurm: Path, postgres_url: str, tmp_path: Path
) -> None:
    at_once = SupervisorOptions(stagger=0.0, leaving=0.0)
    options = LaunchOptions(2, threads=1, launcher="slurm", supervisor=at_once)
    with tiny_study(postgres_url, tmp_path, [strategy()]) as study:
        stop = StopRequest(deadline=time.monotonic() + 90)
        assert run_workers(study.store, study.handle, stop, options) == "the study is finished"
        assert [record.state for record in study.records()] == [TrialState.COMPLETE]
    assert (full_slurm / "gone").exists()


def test_jobs_that_nobody_watches_yet_leave_the_queue_with_the_launcher(slurm: Path, tmp_path: Path) -> None:
    """They would have begun to work on the study hours after its launch was ended."""
    command = WorkerCommand("tiny", StoreURL.parse(POSTGRES), tmp_path / "logs", workers=3)
    launcher = launchers.make("slurm", command)
    launcher.start(0)
    launcher.close()
    assert (slurm / "cancelled").read_text() == "77_1\n77_2\n"


def test_a_job_is_requeued_as_often_as_its_time_is_up(slurm: Path, tmp_path: Path) -> None:
    """After the fourth time it was a failure, by submitit's own rule."""
    settings = {"folder": str(tmp_path / "jobs")}
    command = WorkerCommand("tiny", StoreURL.parse(POSTGRES), tmp_path / "logs", workers=2, settings=settings)
    launchers.make("slurm", command).start(0)
    for job in (0, 1):
        submitted = DelayedSubmission.load(tmp_path / "jobs" / f"77_{job}_submitted.pkl")
        assert submitted._timeout_countdown >= 1000


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
