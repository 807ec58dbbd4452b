"""Giving up long work when that is asked for: a pass over images, an epoch, the decoding of a dataset.

Who starts the work says who is to be asked (`abortable`); loops ask before each step (`check_abort`).
What was begun is undone on the way out, so that the same call can begin it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Asked = Callable[[], bool]


class Aborted(Exception):  # noqa: N818  (a request that was granted, no error)
    """Work was given up because that was asked for; nothing of it is left half done."""


def _never() -> bool:
    return False


_asked: ContextVar[Asked] = ContextVar("asked", default=_never)


@contextmanager
def abortable(asked: Asked = _never) -> Iterator[None]:
    """Within the block, loops of this thread are given up once `asked` says so; by default never."""
    before = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(before)


@contextmanager
def abortable_also(asked: Asked) -> Iterator[None]:
    """Within the block loops are given up once `asked` says so, or whoever was to be asked outside of it."""
    outside = _asked.get()
    with abortable(lambda: outside() or asked()):
        yield


def abort_is_asked() -> bool:
    """Whether the work of this thread is to be given up."""
    return _asked.get()()


def check_abort() -> None:
    """Raise `Aborted` where the work of this thread is to be given up."""
    if abort_is_asked():
        raise Aborted
