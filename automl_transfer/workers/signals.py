"""Stopping in order: the first SIGINT or SIGTERM asks, the second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130


TIME_UP = "the time of the search is used up"


class StopRequest:
    """Why and since when work should stop. Safe between threads and from signal handlers.

    There are two kinds of reason: somebody asked, which ends everything, and the time is up, which ends the
    search for more but not what a command does with what was found. `reason` says either, `asked` the first.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self._since = 0.0
        self._deadline = deadline
        self.event = threading.Event()
        self.asked: str | None = None
        self.signal: int | None = None

    def ask(self, reason: str, signal_number: int | None = None) -> None:
        """Ask to stop. The first reason stays, unless a signal comes."""
        if self.asked is None or (self.signal is None and signal_number is not None):
            self._since = time.monotonic()
            self.asked = reason
            self.signal = signal_number
        self.event.set()

    def until(self, deadline: float | None) -> None:
        """The time is up at this time of `time.monotonic()`; None for never. May be moved at any time."""
        self._deadline = deadline

    @property
    def time_is_up(self) -> bool:
        """Whether the deadline has passed."""
        deadline = self._deadline
        return deadline is not None and time.monotonic() >= deadline

    @property
    def reason(self) -> str | None:
        """Why to stop; None to go on."""
        if self.asked is not None:
            return self.asked
        return TIME_UP if self.time_is_up else None

    @property
    def seconds_asked(self) -> float:
        """Seconds since there is a reason to stop; 0 before."""
        began = [self._since] if self.asked is not None else []
        if self.time_is_up and self._deadline is not None:
            began.append(self._deadline)
        return time.monotonic() - min(began) if began else 0.0


@contextmanager
def stop_on_signals(request: StopRequest) -> Iterator[None]:
    """Within the block, signals ask to stop; handlers are put back at its end. Main thread only."""
    previous = {}

    def handle(number: int, frame: FrameType | None) -> None:
        if request.signal is not None:
            os._exit(INTERRUPTED)
        request.ask(f"{signal.Signals(number).name} received", number)

    asked_by = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # the terminal was closed; ignored under nohup
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        asked_by.append(hang_up)
    for number in asked_by:
        previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
