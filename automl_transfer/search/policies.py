"""What happens after each kind of stop, in one table."""

from __future__ import annotations

import traceback

from automl_transfer.domain.records import StopKind, StopReason
from automl_transfer.errors import (
    NotANumberError,
    OutOfMemoryError,
    OutputError,
    TrialDataError,
    UserError,
)

RETRIED = frozenset({StopKind.CRASHED, StopKind.STORE, StopKind.DATA})
"""Kinds that say nothing about the strategy: the trial is tried again while attempts remain.

Out of memory is not among them, because training has already tried every smaller batch; nor are
NaN and bugs, because training is deterministic and would end there again.
"""

_DETAIL = 1800


def classify(error: BaseException) -> StopReason:
    """The reason of a trial that ended in an exception, with the lines a person needs."""
    if isinstance(error, NotANumberError):
        return StopReason(kind=StopKind.NOT_A_NUMBER, detail=str(error)[:_DETAIL])
    if isinstance(error, OutOfMemoryError | MemoryError):
        return StopReason(kind=StopKind.OUT_OF_MEMORY, detail=str(error)[:_DETAIL])
    if isinstance(error, TrialDataError | OutputError | OSError):
        return StopReason(kind=StopKind.DATA, detail=f"{type(error).__name__}: {error}"[:_DETAIL])
    if isinstance(error, UserError):
        return StopReason(kind=StopKind.BUG, detail=str(error)[:_DETAIL])
    lines = "".join(traceback.format_exception(error)).strip()
    return StopReason(kind=StopKind.BUG, detail=f"{type(error).__name__}: {error}\n{lines}"[-_DETAIL:])
