"""Files from elsewhere: whatever a reader makes of them, a person gets one clear error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from automl_transfer.aborting import Aborted
from automl_transfer.errors import AutomlTransferError, UserError


@contextmanager
def reading(rule: str, name: object, error: type[UserError], todo: str = "") -> Iterator[None]:
    """Within the block a foreign file is read: no exception leaves it but this package's own.

    Readers of other packages raise nearly anything at a file that is damaged or made up, and no list of
    their exceptions is ever whole.

    >>> from automl_transfer.errors import DataError
    >>> with reading("an .npz must be whole", "a.npz", DataError, "copy it again"):
    ...     b"".index(b"PK")
    Traceback (most recent call last):
        ...
    automl_transfer.errors.DataError: an .npz must be whole, got a.npz: subsection not found: copy it again

    Args:
        rule: What the file must be.
        name: The file.
        error: What is raised.
        todo: What to do about it.
    """
    try:
        yield
    except (AutomlTransferError, Aborted):
        raise
    except Exception as failure:  # every one of them: that is the point
        after = f": {todo}" if todo else ""
        raise error(f"{rule}, got {name}: {reason(failure)}{after}") from failure


def reason(failure: BaseException) -> str:
    """One line about an exception of someone else's."""
    if isinstance(failure, MemoryError):
        return "it needs more memory than there is"
    if isinstance(failure, RecursionError):
        return "it is nested too deeply"
    text = " ".join((str(failure).splitlines() or [""])[0].split())
    if isinstance(failure, KeyError):
        text = f"{text} is missing"
    return text[:200] or type(failure).__name__
