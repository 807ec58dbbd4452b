"""Only GET and HEAD reach the application, unless writes were allowed on purpose."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from automl_transfer.dashboard.responses import answer

READING = ("GET", "HEAD")
WRITES = (
    "anyone who opens this page can end trials, edit notes and attributes, upload and delete files, and "
    "delete whole studies"
)


class ReadOnly:
    """Answers 405 to every method that could change something."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        method = environ["REQUEST_METHOD"]
        if method not in READING:
            reason = (
                f"this dashboard is read-only and takes GET and HEAD, got {method[:20]}. "
                f"With --allow-writes, {WRITES}"
            )
            return answer(
                environ,
                start_response,
                HTTPStatus.METHOD_NOT_ALLOWED,
                reason,
                headers=[("Allow", "GET, HEAD")],
            )
        return self._app(environ, start_response)


class SameOriginWrites:
    """With writes allowed: answers 403 to those that another site's page sent, and to renaming.

    The application renames by copying a study and deleting the old one, which would lose our rows.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if environ["REQUEST_METHOD"] in READING:
            return self._app(environ, start_response)
        origin = environ.get("HTTP_ORIGIN")
        site = environ.get("HTTP_SEC_FETCH_SITE", "same-origin")
        foreign = origin is not None and urlsplit(origin).netloc != environ.get("HTTP_HOST")
        if foreign or site not in ("same-origin", "none"):
            reason = f"a write must come from this dashboard's own page, got origin {str(origin)[:100]!r}"
            return answer(environ, start_response, HTTPStatus.FORBIDDEN, reason)
        if environ["PATH_INFO"].rstrip("/").endswith("/rename"):
            reason = (
                "a study is renamed with 'automl-transfer study rename': this page would copy and delete it"
            )
            return answer(environ, start_response, HTTPStatus.FORBIDDEN, reason)
        return self._app(environ, start_response)
