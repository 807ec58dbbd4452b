"""A worker of another machine, that kills itself at one exact point.

    faulty_worker.py none|reap|beat|tell MARKER MACHINE CLOCK STUDY [options of `worker`]

MARKER is a file that is made at that point, just before the end (MARKER.ready when it begins). MACHINE is what it believes to be
its host's name, so that others cannot see its process, and CLOCK the seconds its clock is wrong by.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any


def move_to(machine: str, clock: float) -> None:
    from automl_transfer.workers import identity

    if machine != socket.gethostname():
        identity._seen_from_here = lambda: (machine,)
    right = time.time
    time.time = lambda: right() + clock


def arm(point: str, marker: Path) -> None:
    from automl_transfer.store import continuing
    from automl_transfer.store.trials import Trials
    from automl_transfer.workers import heartbeat
    from automl_transfer.workers.heartbeat import Heartbeat

    def die() -> None:
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    enter = Heartbeat.__enter__

    def ready(self: Heartbeat) -> Heartbeat:
        marker.with_suffix(".ready").touch()
        return enter(self)

    Heartbeat.__enter__ = ready  # type: ignore[method-assign]
    reap_lost = heartbeat.reap_lost

    def in_turn(*arguments: Any, **options: Any) -> list[Any]:
        # One that is to die in it comes first, however slow it is: else it may never get to it.
        sooner = point != "reap" and any(marker.parent.glob("reaper-*"))
        return [] if sooner else reap_lost(*arguments, **options)

    heartbeat.reap_lost = in_turn
    if point == "reap":  # the trial is failed, its child is not made, nothing is committed

        def in_reaper(*_: Any, **__: Any) -> None:
            die()

        continuing.make_child = in_reaper  # type: ignore[assignment]
    elif point == "beat":  # claimed, and never a sign of life
        Heartbeat.holds = lambda self, claim: die() if claim is not None else None  # type: ignore[method-assign]
    elif point == "tell":  # committed, and nobody was told so
        finish = Trials.finish

        def told(self: Trials, *arguments: Any, **options: Any) -> None:
            finish(self, *arguments, **options)
            die()

        Trials.finish = told  # type: ignore[method-assign]
    elif point != "none":
        raise SystemExit(f"no such point: {point}")


if __name__ == "__main__":
    move_to(sys.argv[3], float(sys.argv[4]))
    arm(sys.argv[1], Path(sys.argv[2]))
    from automl_transfer.cli.main import main

    main(["worker", *sys.argv[5:]])
