"""`automl-transfer worker`: one process that runs trials of a study."""

from __future__ import annotations

import math
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import duration, open_store
from automl_transfer.importing import import_torch

if TYPE_CHECKING:
    from pathlib import Path

    from automl_transfer.search.workbench import Workbench
    from automl_transfer.store.values import StudyHandle
    from automl_transfer.training.team import Team


def run(
    study: options.StudyOfStore,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    wait: options.Wait = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
    max_trials: Annotated[int | None, typer.Option("--max-trials", min=1, help="Leave after these.")] = None,
    max_time: Annotated[
        str | None, typer.Option("--max-time", metavar="TIME", help="Leave after 90s, 30m or 2h.")
    ] = None,
    idle_exit: Annotated[
        str | None, typer.Option("--idle-exit", metavar="TIME", help="Leave when there is nothing to do.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Processor threads.")] = None,
    grace: Annotated[
        float, typer.Option("--grace", min=0.1, help="Seconds of silence after which a worker is lost.")
    ] = 60.0,
    beat: Annotated[float, typer.Option("--beat", min=0.05, help="Seconds between signs of life.")] = 5.0,
    checkpoint: Annotated[
        float, typer.Option("--checkpoint", min=0.0, help="Seconds of training a crash may cost.")
    ] = 30.0,
    devices: options.Devices = 1,
    shard: options.Shard = "ddp",
    log_format: Annotated[str, typer.Option("--log-format", help="text or json, to stderr.")] = "text",
    index: Annotated[int, typer.Option("--index", hidden=True)] = 0,
) -> None:
    """Run trials of a study, on any machine that reaches its database, until its budget is used up.

    Of a study with `minutes` it runs trials for so long, or until the search that it helps has no more time
    for trials.

    Ctrl-C, SIGTERM, a batch system's warning (SIGUSR1) or the end of --max-time checkpoints the trial and
    gives it back; a second Ctrl-C or SIGTERM stops at once.
    Exit codes: 0 finished or a limit reached, 1 failed, 2 wrong usage, 130 interrupted.

    \b
    $ automl-transfer worker quick --storage postgresql://me@host/studies
    10:15:02 info study=quick trial=7 root=7 attempt=0 starts: suffix of efficientnet-lite0
    """
    from automl_transfer.errors import ConfigurationError
    from automl_transfer.reporting.publish import LivePage, publish
    from automl_transfer.workers import members
    from automl_transfer.workers.logs import FORMATS, LogObserver, log_worker
    from automl_transfer.workers.sharing import FirstElsewhere
    from automl_transfer.workers.signals import INTERRUPTED, StopRequest, stop_on_signals
    from automl_transfer.workers.timekeeper import TimeKeeper, WorkerTime, asked_after
    from automl_transfer.workers.worker import Worker, WorkerOptions

    if log_format not in FORMATS:
        raise ConfigurationError(f"--log-format must be one of {', '.join(FORMATS)}, got {log_format!r}")
    members.check_shard(shard, devices)
    member = members.rank(devices)
    if devices > 1 and member is None:
        members.check(devices, device)
        raise typer.Exit(members.run_members(devices, threads))
    if grace < 2 * beat:
        raise ConfigurationError(
            f"--grace must be at least two beats, or living workers are taken for lost, got {grace:g} with "
            f"--beat {beat:g}"
        )
    stop = StopRequest()
    leave = time.monotonic() + duration(max_time, "--max-time") if max_time is not None else math.inf
    options = WorkerOptions(
        beat=beat,
        grace=grace,
        checkpoint=checkpoint,
        max_trials=max_trials,
        idle_exit=duration(idle_exit, "--idle-exit") if idle_exit is not None else None,
        index=index,
    )
    if member is not None:
        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    team = _team(device, member, threads or 1, shard) if member is not None else None
    if team is not None:
        device = str(team.device)
        if member:
            _follow(team, device, data_root, cache)
            return
    alone = ExitStack()
    if team is not None:
        alone.callback(team.end)  # without a study there is nothing to train together
    # Before there is a trial to give back, a signal ends the process as it always does.
    with (
        alone,
        open_store(storage, storage_file, create=False, wait=wait, study=study) as store,
        stop_on_signals(stop),
        ExitStack() as running,
    ):
        handle = store.study(study)
        alone.pop_all()
        if team is not None:
            team.hand_out(handle)
        observer = LogObserver(handle.name)
        log_worker(observer, log_format)
        running.enter_context(observer.pulse)

        def open_bench() -> Workbench:
            import_torch()
            import torch

            from automl_transfer.search.workbench import Workbench

            if threads is not None:
                torch.set_num_threads(threads)
            return Workbench.open(
                handle,
                device=device,
                data_root=data_root,
                cache_root=cache,
                progress=observer.on_progress,
                crew=team,
            )

        with TimeKeeper(stop, WorkerTime(store, handle)), asked_after(stop, leave - time.monotonic()):
            report = Worker(
                store,
                handle,
                open_bench,
                stop=stop,
                options=options,
                observer=observer,
                after_trial=LivePage(store, handle),
                before_draw=FirstElsewhere(store, handle, observer.on_idle),
            ).run()
        if report.finished and report.trials:
            publish(store.with_patience(0), handle)
        if team is not None:
            team.end()
    typer.echo(f"left after {report.trials} trials: {report.reason}", err=True)
    if stop.signal is not None:
        raise typer.Exit(INTERRUPTED)
    if team is not None and team.lost:
        raise typer.Exit(members.LOST)


def _team(device: str, member: int, threads: int, shard: str) -> Team:
    import_torch()
    import torch

    from automl_transfer.training.device import resolve_device
    from automl_transfer.training.team import Team
    from automl_transfer.workers import signals
    from automl_transfer.workers.members import MEET, device_of

    torch.set_num_threads(threads)
    local = int(os.environ.get("LOCAL_RANK", member))
    here = resolve_device(device_of(device, local))
    team = Team(here, os.environ.get(MEET), shards=shard == "fsdp")
    if member:
        signals.ignore()  # the first one says when to leave, and that it is gone is noticed
    return team


def _follow(team: Team, device: str, data_root: Path | None, cache: Path | None) -> None:
    from automl_transfer.errors import TrialDataError
    from automl_transfer.search.following import follow
    from automl_transfer.search.workbench import Workbench
    from automl_transfer.workers.members import LOST

    def open_bench(handle: StudyHandle) -> Workbench:
        return Workbench.open(handle, device=device, data_root=data_root, cache_root=cache, crew=team)

    try:
        follow(team, open_bench)
    except TrialDataError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(LOST) from error
    team.leave()
