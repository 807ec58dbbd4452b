"""Workers as jobs of Slurm, through submitit: one array of them, each requeued when it is pre-empted.

Before it takes a node away, Slurm sends a warning. The worker then checkpoints its trial and gives it back,
and the job is put into the queue again; another worker may go on with the trial meanwhile. Folders must be
shared by all nodes, as always with Slurm.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from automl_transfer.errors import ConfigurationError
from automl_transfer.workers.launcher import Launcher, Settings, StartedWorker, WorkerCommand, import_path
from automl_transfer.workers.signals import INTERRUPTED

THREADS = 4
"""Of each worker, where nobody says how many."""
MINUTES, WARNING = 240.0, 90.0
"""How long a job may take, and how many seconds before its end Slurm warns it."""
TIMEOUTS = 1_000_000
"""So often is a job requeued whose time was up: as long as the study lasts."""


class OneWorker:
    """What a job runs: the same worker as everywhere, as a process of its own.

    Args:
        options: Of the command line, behind `python`. The store's address is in the job's environment.
    """

    def __init__(self, options: list[str]) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run it to its end; returns its exit code."""
        self._process = subprocess.Popen(
            [sys.executable, *self._options], stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            return self._end()
        except KeyboardInterrupt:  # the job is cancelled
            return self._leave()

    def checkpoint(self) -> Any:
        """Called by submitit when the job is warned: let the worker give its trial back, and begin anew."""
        from submitit.helpers import DelayedSubmission

        self._leave()
        return DelayedSubmission(OneWorker(self._options))

    def _leave(self) -> int:
        if self._process is None:
            return INTERRUPTED
        # Where Slurm signals every process of a job, the worker was asked to end before: a second such signal
        # would end it at once, a warning asks again.
        self._process.send_signal(signal.SIGUSR1)
        return self._end()

    def _end(self) -> int:
        assert self._process is not None
        # A signal may come while this waits, and its handler waits, too: Popen's own lock would never open.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return self._process.wait()


class SlurmLauncher(Launcher):
    """Starts workers as one array of Slurm jobs.

    Settings: `gpus` of each worker (whole ones), `minutes` that a job may take (240), `folder` for scripts
    and logs, `cluster` (slurm; local runs the jobs as processes of this machine, to try it), and every
    `slurm_...` that submitit has: slurm_partition, slurm_account, slurm_qos, slurm_constraint, ...

    Raises:
        ConfigurationError: submitit is not installed, there is no Slurm here, a setting is none that it
            knows, or the store is a file.
    """

    def __init__(self, command: WorkerCommand) -> None:
        settings = Settings("slurm", command.settings)
        cluster = settings.text("cluster", "slurm")
        gpus, minutes = settings.number("gpus", 0.0), settings.number("minutes", MINUTES, least=1.0)
        folder = Path(settings.text("folder", str(command.logs.parent / "slurm")))
        more = settings.starting("slurm_")
        settings.end()
        if gpus != int(gpus):
            raise ConfigurationError(
                f"Slurm gives whole GPUs, got gpus={gpus:g}: round it, or use --launcher ray"
            )
        if command.url.is_sqlite and cluster == "slurm":
            raise ConfigurationError(
                "workers on several machines must share a PostgreSQL store, got a SQLite file: create the "
                "study with --storage postgresql://..."
            )
        self._command = command
        self._cluster = cluster
        self._executor = _executor(folder, cluster)
        given: dict[str, Any] = {
            "name": f"automl-{command.study}"[:40],
            "timeout_min": int(minutes),
            "cpus_per_task": command.threads or THREADS,
            "gpus_per_node": int(gpus),
            "slurm_signal_delay_s": int(WARNING),
            "slurm_array_parallelism": command.workers,
            **{name: int(value) if value.isdigit() else value for name, value in more.items()},
        }
        try:
            self._executor.update_parameters(**given)
        except (TypeError, ValueError, NameError) as error:
            said = " ".join(str(error).split())[:300]
            raise ConfigurationError(
                f"settings of Slurm must be ones that submitit has, got {said}"
            ) from error
        self._jobs: dict[int, Any] = {}
        self._begun = False
        command.logs.mkdir(parents=True, exist_ok=True)

    def start(self, index: int) -> StartedWorker:
        """The job of this number: of the array at first, of its own after a crash."""
        if not self._begun:
            self._begun = True
            self._jobs = dict(enumerate(self._submit(range(self._command.workers))))
        job = self._jobs.pop(index, None) or self._submit([index])[0]
        return _Job(job, self._command.logs / f"worker-{index}.log", self._cluster)

    def close(self) -> None:
        """Cancel the jobs that were submitted, and that nobody has begun to watch."""
        for job in self._jobs.values():
            job.cancel(check=False)
        self._jobs = {}

    def _submit(self, indices: range | list[int]) -> list[Any]:
        from submitit.core.utils import FailedJobError

        jobs = [OneWorker(self._command.options(index)) for index in indices]
        # The address of the store travels as Slurm carries every environment, and into no file.
        with _environment({**import_path(), **self._command.variables()}):
            try:
                return list(self._executor.submit_array(jobs))
            except FailedJobError as error:
                said = " ".join(str(error).split())[:500]
                raise ConfigurationError(
                    f"Slurm must take the jobs, got {said}: correct --launcher-set"
                ) from error


class _Job(StartedWorker):
    def __init__(self, job: Any, log: Path, cluster: str) -> None:
        self._job, self._log, self._cluster = job, log, cluster
        self._code: int | None = None
        self._asked = False
        self.name = str(job.job_id)

    def poll(self) -> int | None:
        if self._code is None and self._job.done():
            self._code = self._end()
            self._bring_home()
        return self._code

    def _end(self) -> int:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if self._asked and not self._job.paths.result_pickle.exists():
            return INTERRUPTED  # it had not begun, and submitit would wait for its result
        try:
            return int(self._job.result())
        except (FailedJobError, UncompletedJobError):
            return INTERRUPTED if self._asked else 1

    def _bring_home(self) -> None:
        """Slurm has written the log into the folder; `report` looks for it beside those of other workers."""
        with contextlib.suppress(OSError), self._log.open("ab") as stream:
            for path in (self._job.paths.stdout, self._job.paths.stderr):
                if path.exists():
                    stream.write(path.read_bytes())

    def ask(self) -> None:
        if self._code is not None or self._asked:
            return
        self._asked = True
        if self._cluster != "slurm":
            self._job.cancel(check=False)  # a SIGINT
            return
        # A plain scancel sends SIGTERM and then SIGKILL: submitit ignores the first, and control groups hand
        # only the second on to what a job has started. A job that waits takes no signal, and is cancelled.
        for how in ("--state=PENDING", "--signal=INT"):
            subprocess.call(["scancel", "--quiet", how, self.name])
        self._job.watcher.register_job(self.name)  # else Slurm is asked every ten minutes what became of it

    def kill(self) -> None:
        if self._code is None:
            self._job.cancel(check=False)
            self._code = -signal.SIGKILL

    def last_words(self) -> str:
        text = self._job.stderr() or ""
        lines = [line for line in text.strip().splitlines() if not line.startswith("submitit ")]
        return lines[-1][:500] if lines else f"job {self.name} is {self._job.state}"


def _executor(folder: Path, cluster: str) -> Any:
    try:
        import submitit
    except ImportError:
        raise ConfigurationError(
            "the launcher slurm needs submitit, which is not installed here: "
            "pip install 'automl-transfer[slurm]'"
        ) from None
    try:
        return submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=TIMEOUTS)
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"the launcher slurm must find Slurm (sbatch, squeue) on this machine, got {error}: run it where "
            "jobs are submitted"
        ) from error


@contextlib.contextmanager
def _environment(added: dict[str, str]) -> Iterator[None]:
    """Within the block, these variables are set: a job takes them over when it is submitted."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
