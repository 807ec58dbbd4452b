"""Runs a study with several workers, from start to last sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from automl_transfer.errors import StoreUnavailableError, UserError, WorkersError
from automl_transfer.search.noise import search_is_over, why_finished
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import StudyHandle
from automl_transfer.workers import launchers
from automl_transfer.workers.heartbeat import reap_lost
from automl_transfer.workers.launcher import WRONG_USAGE, WorkerCommand
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.spool import Spool, spool_folder
from automl_transfer.workers.supervisor import Slot, SupervisorOptions, supervise


@dataclass(frozen=True)
class LaunchOptions:
    """How workers are launched.

    Attributes:
        threads: Of each worker; None leaves it to the launcher, which divides the cores that there are.
        launcher: Name of what starts the workers, one of `launchers`.
        settings: The launcher's own.
        devices: That train a model together, of each worker.
        shard: Whether each of these has whole weights (`ddp`) or a part of them (`fsdp`).
    """

    workers: int
    threads: int | None = None
    device: str = "auto"
    data_root: Path | None = None
    cache_root: Path | None = None
    launcher: str = "local"
    settings: Mapping[str, str] = field(default_factory=dict)
    devices: int = 1
    shard: str = "ddp"
    grace: float = 60.0
    supervisor: SupervisorOptions = field(default_factory=SupervisorOptions)


def run_workers(
    store: Store,
    handle: StudyHandle,
    stop: StopRequest,
    options: LaunchOptions,
    *,
    on_tick: Callable[[Sequence[Slot]], None] = lambda slots: None,
) -> str:
    """Run workers until the study is finished or stopping is asked for; returns why it ended.

    Raises:
        UserError: A worker refused this machine's data or weights; the message is the worker's.
        WorkersError: No worker could go on.
    """
    spool = spool_folder(store, handle)
    command = WorkerCommand(
        study=handle.identity,  # a worker that starts later finds it under whatever name it has then
        url=store.url,
        logs=spool.parent.parent / "logs",
        threads=options.threads,
        device=options.device,
        data_root=options.data_root,
        cache_root=options.cache_root,
        grace=options.grace,
        workers=options.workers,
        devices=options.devices,
        shard=options.shard,
        settings=options.settings,
    )
    launcher = launchers.make(options.launcher, command)
    trials, now = Trials(store), Trials(store.with_patience(0))

    def is_over() -> bool:
        try:
            return _is_over(now, handle)
        except StoreUnavailableError:  # the workers are who waits for it
            return False

    try:
        result = supervise(
            launcher, options.workers, stop, options=options.supervisor, on_tick=on_tick, is_over=is_over
        )
    finally:
        launcher.close()
    # A worker that was killed last has nobody to look after its trial, or its result.
    Spool(spool).deliver(trials, handle)
    reap_lost(trials, handle, grace=options.grace)
    if stop.reason is not None:
        return stop.reason
    if WRONG_USAGE in result.codes:
        raise UserError(result.failure)
    if _is_over(trials, handle):
        return why_finished(trials, handle)
    if result.all_failed:
        raise WorkersError(
            f"workers must be able to go on, none of {options.workers} could after {result.restarts} "
            f"restarts: {result.failure}. Nothing is lost: start again once the cause is gone"
        )
    return result.reason


def _is_over(trials: Trials, handle: StudyHandle) -> bool:
    """Whether nothing of the study is open, and nothing more is drawn."""
    counts = trials.counts(handle)
    if counts.open_roots:
        return False
    return counts.roots >= handle.spec.search.trials or search_is_over(trials, handle) is not None
