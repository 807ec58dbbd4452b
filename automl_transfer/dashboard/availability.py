"""While the database is away, a page that says so and looks again; once it is back, a fresh application."""

from __future__ import annotations

import html
import logging
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from types import TracebackType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from automl_transfer.dashboard.responses import answer, page

log = logging.getLogger(__name__)
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
_FILES = ("/static/", "/favicon.ico")
RETRY_SECONDS = 5


class Availability:
    """Answers 503 with the reason where the application fails because the database does not answer.

    Args:
        make_app: Makes the application, on connections of its own and with nothing remembered.
        trouble: Why the database does not answer; None where it does. Must not raise.
    """

    def __init__(self, make_app: Callable[[], WSGIApplication], trouble: Callable[[], str | None]) -> None:
        self._make_app = make_app
        self._trouble = trouble
        self._app = make_app()
        self._away = False
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        path = environ.get("PATH_INFO", "")
        if path.startswith(_FILES):
            return self._app(environ, start_response)
        # The pages themselves are static: without a look at the database they would open and stay empty.
        if (self._away or not path.startswith(("/api/", "/artifacts/", "/csv/"))) and (why := self._look()):
            return self._unavailable(environ, start_response, why)
        started: list[tuple[str, list[tuple[str, str]], _ExcInfo | None]] = []

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None, /
        ) -> Callable[[bytes], Any]:
            started[:] = [(status, headers, exc_info)]
            return lambda _data: None

        body = self._app(environ, start)
        status, headers, exc_info = started[0]
        if status.startswith("5") and (why := self._look()):
            if (close := getattr(body, "close", None)) is not None:
                close()
            return self._unavailable(environ, start_response, why)
        start_response(status, headers, exc_info)
        return body

    def _look(self) -> str | None:
        why = self._trouble()
        with self._lock:
            if why is not None and not self._away:
                log.warning("the database is away: %s", why)
                self._away = True
            elif why is None and self._away:
                log.warning("the database is back")
                self._app = self._make_app()
                self._away = False
        return why

    @staticmethod
    def _unavailable(environ: WSGIEnvironment, start_response: StartResponse, why: str) -> Iterable[bytes]:
        said = f"The database does not answer ({why}). Nothing is lost; this page looks again by itself."
        return answer(
            environ,
            start_response,
            HTTPStatus.SERVICE_UNAVAILABLE,
            said,
            body=page(
                "The database does not answer",
                f"<p>{html.escape(why)}</p>"
                f"<p>Nothing is lost. This page looks again every {RETRY_SECONDS} seconds.</p>",
                head=f'<meta http-equiv="refresh" content="{RETRY_SECONDS}">',
            ),
            headers=[("Retry-After", str(RETRY_SECONDS))],
        )
