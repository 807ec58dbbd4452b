"""Threads that do something every so often beside the work, until a block is left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds of silence before a line, where nobody watches."""


class Repeated:
    """Within the block a thread calls `step` again and again. What it raises is logged; it goes on.

    Args:
        name: Of the thread, and in the log.
        every: Seconds between two steps; `until_next` may say otherwise.
    """

    def __init__(self, name: str, every: float) -> None:
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=5 + min(self._every, 5))

    def step(self) -> None:
        """What is repeated."""
        raise NotImplementedError

    def until_next(self) -> float:
        """Seconds until the next step."""
        return self._every

    def _run(self) -> None:
        while not self._end.wait(self.until_next()):
            try:
                self.step()
            except Exception as error:
                log.warning("%s: %s: %s", self._thread.name, type(error).__name__, error)


class Pulse(Repeated):
    """Says what goes on whenever nothing was said for a while: a log that stands still looks like a hang.

    Args:
        say: Prints one line. Called from the thread.
        every: Seconds of silence before a line.
    """

    def __init__(self, say: Callable[[str], None], every: float = EVERY) -> None:
        super().__init__("pulse", every)
        self._say = say
        self._doing = ""
        self._said_at = time.monotonic()

    def doing(self, what: str) -> None:
        """What goes on from now on; nothing is said of it before its time."""
        self._doing = what

    def said(self) -> None:
        """Something was printed just now."""
        self._said_at = time.monotonic()

    def until_next(self) -> float:
        """Until the silence has lasted."""
        return max(0.01, self._said_at + self._every - time.monotonic())

    def step(self) -> None:
        """Say it, where nothing was said meanwhile."""
        if time.monotonic() < self._said_at + self._every:
            return
        if self._doing:
            self._say(self._doing)
        self.said()
