"""`automl-transfer launch`: several worker processes, on this machine, a Ray cluster or Slurm."""

from __future__ import annotations

from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import launcher_settings, open_store
from automl_transfer.cli.screen import console


def run(
    study: options.StudyOfStore,
    workers: Annotated[int, typer.Option("--workers", "-n", min=1, max=1000, help="Processes.")] = 2,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Of each worker. Default: the cores, divided.")
    ] = None,
    grace: Annotated[
        float, typer.Option("--grace", min=10.0, help="Seconds of silence after which a worker is lost.")
    ] = 60.0,
    launcher: options.Launcher = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="Of a Ray cluster: HOST:PORT, or auto."),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option("--gpus-per-worker", min=0.0, help="Of each worker; .5: two share one (ray)."),
    ] = None,
    launcher_set: options.LauncherSet = None,
    devices: options.Devices = 1,
    shard: options.Shard = "ddp",
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
) -> None:
    """Run a study with N supervised workers; crashed ones are started again. Ctrl-C ends all in order.

    \b
    $ automl-transfer launch quick --workers 4
      0:42  9/16 strategies, 7 complete, 2 pruned, 4 running, 3 waiting, best 0.981
    worker  trial  root  attempt  epoch  epochs/min  last beat
    0          12    12        0      3        21.4    1 s ago
    $ automl-transfer launch quick --launcher ray --address head:6379 -n 8 --gpus-per-worker .5
    $ automl-transfer launch quick --launcher slurm -n 16 --launcher-set slurm_partition=gpu
    """
    from automl_transfer.cli.live_workers import LiveWorkers
    from automl_transfer.store.trials import Trials
    from automl_transfer.workers import launchers, members
    from automl_transfer.workers.launching import LaunchOptions, run_workers
    from automl_transfer.workers.signals import INTERRUPTED, StopRequest, stop_on_signals
    from automl_transfer.workers.timekeeper import SupervisorTime, TimeKeeper, WorkerTime

    launcher = launcher or "local"
    launchers.check(launcher)
    members.check_shard(shard, devices)
    settings = launcher_settings(
        launcher_set,
        address=address,
        gpus=f"{gpus_per_worker:g}" if gpus_per_worker is not None else None,
    )
    stop = StopRequest()
    screen = console()
    with open_store(storage, storage_file, create=False) as store:
        handle = store.study(study)
        options = LaunchOptions(
            workers, threads=threads, device=device, data_root=data_root, cache_root=cache, grace=grace,
            launcher=launcher, settings=settings, devices=devices, shard=shard,
        )  # fmt: skip
        with (
            stop_on_signals(stop),
            TimeKeeper(stop, SupervisorTime(WorkerTime(store, handle), store, handle)),
            LiveWorkers(screen) as live,
        ):
            live.watch(Trials(store), handle)
            reason = run_workers(store, handle, stop, options, on_tick=live)
    screen.print(f"ended: {reason}", markup=False)
    if stop.signal is not None:
        raise typer.Exit(INTERRUPTED)
