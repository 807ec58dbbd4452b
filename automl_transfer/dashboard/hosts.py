"""Only requests for a known host: a foreign page that names its own host at our address gets nothing.

Without this, a page anywhere could point its own name at 127.0.0.1 (DNS rebinding) and read the studies.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from automl_transfer.dashboard.responses import answer

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  (recognised, not bound to)


def host_name(header: str) -> str:
    """The name in a Host header, without its port and in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


class HostCheck:
    """Answers 403 unless the Host header names this machine or one of `allowed`; any port will do."""

    def __init__(self, app: WSGIApplication, allowed: Iterable[str]) -> None:
        self._app = app
        self._allowed = LOOPBACK | {host_name(name) for name in allowed if name not in WILDCARDS}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        host = environ.get("HTTP_HOST", "")
        if host_name(host) not in self._allowed:
            reason = (
                f"the host must be one of {', '.join(sorted(self._allowed))}, got {host[:100]!r}. "
                "Start the dashboard with --allow-host NAME to serve it under another name"
            )
            return answer(environ, start_response, HTTPStatus.FORBIDDEN, reason)
        return self._app(environ, start_response)
