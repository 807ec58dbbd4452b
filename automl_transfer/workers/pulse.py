"""A line a minute where nobody watches: a log that stands still looks like a program that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

EVERY = 60.0


class Pulse:
    """Says what goes on whenever nothing was said for a while, from a thread of its own.

    Args:
        say: Prints one line. Called from the thread; must not raise.
        every: Seconds of silence before a line.
    """

    def __init__(self, say: Callable[[str], None], every: float = EVERY) -> None:
        self._say = say
        self._every = every
        self._doing = ""
        self._said_at = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=5)

    def doing(self, what: str) -> None:
        """What goes on from now on; nothing is said of it before its time."""
        self._doing = what

    def said(self) -> None:
        """Something was printed just now."""
        self._said_at = time.monotonic()

    def _run(self) -> None:
        while not self._end.wait(max(0.01, self._said_at + self._every - time.monotonic())):
            if self._doing and time.monotonic() >= self._said_at + self._every:
                self._say(self._doing)
            if time.monotonic() >= self._said_at + self._every:
                self.said()
