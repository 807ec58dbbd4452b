"""Which errors mean that the store has trouble, and how long a step is tried again.

A step is one transaction that may be run again from its start: every step is idempotent through a
token chosen before its first try, so that a COMMIT whose answer was lost does no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import tenacity
from optuna.exceptions import StorageInternalError
from sqlalchemy import exc

from automl_transfer.errors import StoreUnavailableError
from automl_transfer.redaction import redacted

T = TypeVar("T")
log = logging.getLogger(__name__)

_PERMANENT = (
    "readonly database",
    "no such table",
    "no such column",
    "syntax error",
    "has no column",
    "already exists",
    "too many sql variables",
    "file is not a database",
    "malformed",
)
_TRANSIENT_STATES = ("08", "40", "53", "55P03", "57", "58", "25P03", "25P04", "25006")
_DENIED = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "authentication failed",
)
_DENIED_STATES = ("28000", "28P01")
_INSECURE = (
    "certificate verify failed",
    "root certificate file",
    "does not match host name",
    "does not support ssl",
    "sslmode",
    "certificate file",
    "private key file",
    "alert unknown ca",
    "certificate required",
)
"""What libpq says where the encryption that the URL asks for cannot be had."""


def is_denied(error: BaseException) -> bool:
    """Whether the server answered and refused the login: waiting does not help."""
    text = str(error).lower()
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state in _DENIED_STATES or any(part in text for part in _DENIED)


def is_insecure(error: BaseException) -> bool:
    """Whether the encryption that the URL asks for cannot be had, or the server is not who it should be."""
    text = str(getattr(error, "orig", None) or "").lower()
    return any(part in text for part in _INSECURE)


def is_forbidden(error: BaseException) -> bool:
    """Whether the login was accepted and may not do this: it lacks a right on a table."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) == "42501"


def is_store_trouble(error: BaseException) -> bool:
    """Whether an error comes from a store that is away, locked, full or restarting.

    True as well for what Optuna makes of such an error (`StorageInternalError`).
    """
    if isinstance(error, StorageInternalError):
        return error.__cause__ is None or is_store_trouble(error.__cause__)
    if isinstance(error, exc.TimeoutError):  # the connection pool is exhausted
        return True
    if not isinstance(error, exc.DBAPIError):
        return False
    if is_denied(error) or is_insecure(error):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return any(str(state).startswith(prefix) for prefix in _TRANSIENT_STATES)
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        text = str(error.orig).lower()
        return not any(part in text for part in _PERMANENT)
    return False


@dataclass(frozen=True)
class Patience:
    """How long a step is tried again: exponential backoff with full jitter, then an error.

    Attributes:
        seconds: Total time before giving up; 0 tries once.
        longest: Upper limit of one pause, in seconds.
        trouble: Which errors are tried again.
        on_wait: Called before each pause with the error and the seconds since the first try.
    """

    seconds: float = 300.0
    longest: float = 3.0
    trouble: Callable[[BaseException], bool] = is_store_trouble
    on_wait: Callable[[BaseException, float], None] | None = None

    def run(self, step: Callable[[], T], what: str) -> T:
        """Run a step until it succeeds.

        Raises:
            StoreUnavailableError: The trouble lasted longer than `seconds`.
        """
        try:
            return step()
        except Exception as error:
            if not self.trouble(error):
                raise
            first = error
        log.warning("the store has trouble while it should %s, trying again: %s", what, _short(first))
        if self.on_wait is not None:
            self.on_wait(first, 0.0)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self.trouble),
            stop=tenacity.stop_after_delay(self.seconds),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=self.longest),
            before_sleep=self._before_sleep,
        )
        try:
            return retrying(step)
        except tenacity.RetryError as error:
            last = error.last_attempt.exception() or first
            raise StoreUnavailableError(
                f"the store must answer within {self.seconds:g} s, it did not while it should {what} "
                f"({_short(last)}). Check that the database runs and has space, then start again: "
                "nothing that was stored is lost"
            ) from last

    def _before_sleep(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if self.on_wait is not None and error is not None:
            self.on_wait(error, state.seconds_since_start or 0.0)


def _short(error: Any) -> str:
    """The first line of what the driver said, without statement, parameters or URL."""
    text = str(getattr(error, "orig", None) or error.__cause__ or error).strip()
    return redacted(text.splitlines()[0])[:300] if text else type(error).__name__


short = _short
