"""One budget of memory for everything that decodes: threads together stay within it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LEAST, MOST = 256 << 20, 2 << 30
"""Bytes."""


class MemoryBudget:
    """A semaphore over bytes. Who needs more than all of it waits until nobody else decodes.

    Args:
        size: Bytes; by default an eighth of the machine's memory, within `LEAST` and `MOST`.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = _eighth() if size is None else size
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def holding(self, needed: int) -> Iterator[None]:
        """Within the block so many bytes count as taken; waits for others first."""
        part = min(needed, self.size)
        with self._changed:
            self._changed.wait_for(lambda: self._held + part <= self.size)
            self._held += part
        try:
            yield
        finally:
            with self._changed:
                self._held -= part
                self._changed.notify_all()


def _eighth() -> int:
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on every system
        memory = 0
    return min(MOST, max(LEAST, memory // 8))


DECODING = MemoryBudget()
