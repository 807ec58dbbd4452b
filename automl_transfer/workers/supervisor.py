"""Keeps N workers running until their study ends, and stops them in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from automl_transfer.workers.launcher import DONE, WRONG_USAGE, Launcher, StartedWorker
from automl_transfer.workers.signals import INTERRUPTED, StopRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SupervisorOptions:
    """Times in seconds.

    Attributes:
        stagger: Between two starts, so that workers neither load nor write all at once.
        max_restarts: Of one worker, after crashes.
        patience: How long workers may take to release their trials before they are killed.
        poll: Between two looks.
        leaving: How long workers may take to leave by themselves once the study is over.
    """

    stagger: float = 0.5
    max_restarts: int = 5
    patience: float = 60.0
    poll: float = 0.25
    leaving: float = 8.0


@dataclass
class Slot:
    """One of the N workers, over its restarts.

    Attributes:
        ended: Its final exit code; None while it runs or will be started (again).
        failure: What it said last, where it failed.
    """

    index: int
    worker: StartedWorker | None = None
    ended: int | None = None
    restarts: int = 0
    failure: str = ""
    start_at: float = 0.0


@dataclass(frozen=True)
class Supervision:
    """How it went.

    Attributes:
        failure: Why workers could not go on; empty where none failed for good.
        killed: Workers that did not leave in time after they were asked.
    """

    reason: str
    restarts: int
    failure: str = ""
    killed: int = 0
    codes: Sequence[int] = field(default_factory=tuple)

    @property
    def all_failed(self) -> bool:
        """Whether every worker ended in a failure, so that nobody can go on."""
        return all(code not in (DONE, INTERRUPTED) for code in self.codes)


def supervise(
    launcher: Launcher,
    workers: int,
    stop: StopRequest,
    *,
    options: SupervisorOptions | None = None,
    on_tick: Callable[[Sequence[Slot]], None] = lambda slots: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Supervision:
    """Run `workers` workers until all have left, or `stop` asks.

    A worker that crashes is started again, later each time, up to a limit. One that reports wrong usage
    (exit code 2: other data, other weights) would do so again: it ends them all. Once one is done, those that
    are still there while the study `is_over`, perhaps waiting in a queue, are asked to leave as well.
    """
    options = options or SupervisorOptions()
    began = over_since = time.monotonic()
    slots = [Slot(i, start_at=began + i * options.stagger) for i in range(workers)]
    try:
        while stop.reason is None:
            for slot in slots:
                _look_after(slot, launcher, options)
            if all(slot.ended is not None for slot in slots):
                break
            if any(slot.ended == WRONG_USAGE for slot in slots):
                break
            if not (any(slot.ended == DONE for slot in slots) and is_over()):
                over_since = time.monotonic()
            elif time.monotonic() - over_since >= options.leaving:
                break
            on_tick(slots)
            stop.event.wait(options.poll)
    finally:
        killed = _stop_all(slots, stop, options, on_tick)
    failure = next((slot.failure for slot in slots if slot.failure), "")
    reason = stop.reason or failure or "all workers have left"
    return Supervision(
        reason=reason,
        restarts=sum(slot.restarts for slot in slots),
        failure=failure,
        killed=killed,
        codes=tuple(slot.ended if slot.ended is not None else INTERRUPTED for slot in slots),
    )


def _look_after(slot: Slot, launcher: Launcher, options: SupervisorOptions) -> None:
    if slot.ended is not None:
        return
    if slot.worker is None:
        if time.monotonic() >= slot.start_at:
            slot.worker = launcher.start(slot.index)
        return
    code = slot.worker.poll()
    if code is None:
        return
    if code in (DONE, INTERRUPTED):
        slot.ended = code
        return
    words = slot.worker.last_words()
    said = f"worker {slot.index} ended with exit code {code}" + (f": {words}" if words else "")
    if code == WRONG_USAGE or slot.restarts >= options.max_restarts:
        slot.ended, slot.failure = code, said
        return
    log.warning("%s; it is started again", said)
    slot.restarts += 1
    slot.worker = None
    slot.start_at = time.monotonic() + min(30.0, 0.5 * 2**slot.restarts)


def _stop_all(
    slots: Sequence[Slot],
    stop: StopRequest,
    options: SupervisorOptions,
    on_tick: Callable[[Sequence[Slot]], None],
) -> int:
    """Ask every worker once, wait, and kill those that stay; returns how many."""
    living = [(slot, slot.worker) for slot in slots if slot.worker is not None and slot.ended is None]
    for _, worker in living:
        worker.ask()
    deadline = time.monotonic() + options.patience
    killed = 0
    for slot, worker in living:
        while worker.poll() is None and time.monotonic() < deadline:
            on_tick(slots)
            time.sleep(min(options.poll, 0.1))
        if worker.poll() is None:
            log.warning("worker %d did not leave within %g s: killed", slot.index, options.patience)
            worker.kill()
            killed += 1
        slot.ended = worker.poll()
    return killed
