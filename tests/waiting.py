"""Waiting for what another process does, where nothing announces it."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], seconds: float = 60, on: Callable[[], str] = str) -> None:
    """Look again and again until something is so.

    Raises:
        AssertionError: It was not so in time; with what `on` says about it.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {seconds:g} s: {on()}")
        time.sleep(0.02)
