"""Stopping in order: the first SIGINT, SIGTERM or SIGHUP asks, the second one ends the process at once.

SIGUSR1, SIGUSR2 and SIGXCPU ask, too, and never end anything: batch systems send them as a warning, before
the SIGTERM that counts (Slurm's --signal, Grid Engine's -notify).
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
_SHOW_CURSOR = b"\x1b[?25h"


def _there(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


_ENDS = _there("SIGINT", "SIGTERM", "SIGHUP")
_WARNS = _there("SIGUSR1", "SIGUSR2", "SIGXCPU")


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
    def seconds_left(self) -> float:
        """Until the deadline; infinite where there is none."""
        deadline = self._deadline
        return math.inf if deadline is None else deadline - time.monotonic()

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
    ended_by: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if number in _ENDS:
            if ended_by:
                _leave_at_once()
            ended_by.append(number)
        request.ask(f"{signal.Signals(number).name} received", number)

    with handling(handle):
        yield


@contextmanager
def handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within the block, signals that end or warn come here. Main thread only."""
    previous = {}
    for number in (*_ENDS, *_WARNS):
        # Ignored under nohup; a signal that its sender wants ignored stays so.
        if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def ignore() -> None:
    """From now on, signals that end or warn change nothing here."""
    for number in (*_ENDS, *_WARNS):
        signal.signal(number, signal.SIG_IGN)


def _leave_at_once() -> None:
    """End the process without its ways out; a progress bar has hidden the terminal's cursor."""
    for stream in (1, 2):
        with suppress(OSError):
            if os.isatty(stream):
                os.write(stream, _SHOW_CURSOR)
                break
    os._exit(INTERRUPTED)
