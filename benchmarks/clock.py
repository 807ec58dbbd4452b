"""A peer's clock: from the start of its process, without pauses (Ctrl-Z) and the harness's own looks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class Clock:
    """Seconds since the process began, its imports included. Ctrl-Z pauses: the clock stands still until `fg`."""

    def __init__(self) -> None:
        self._began = time.perf_counter() - (time.time() - psutil.Process().create_time())
        self.paused = 0.0
        signal.signal(signal.SIGTSTP, self._stand_still)

    def now(self) -> float:
        return time.perf_counter() - self._began - self.paused

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What the harness does for itself; a pause in it is part of it."""
        began, before = time.perf_counter(), self.paused
        yield
        self.paused = before + time.perf_counter() - began

    def _stand_still(self, *_: object) -> None:
        stopped = time.perf_counter()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.paused += time.perf_counter() - stopped
