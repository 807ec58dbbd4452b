"""A worker that kills itself at one exact point: `faulty_worker.py reap|beat|tell STUDY ...`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    from automl_transfer.store import continuing
    from automl_transfer.store.trials import Trials
    from automl_transfer.workers.heartbeat import Heartbeat

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
    else:
        raise SystemExit(f"no such point: {point}")


if __name__ == "__main__":
    arm(sys.argv[1])
    from automl_transfer.cli.main import main

    main(["worker", *sys.argv[2:]])
