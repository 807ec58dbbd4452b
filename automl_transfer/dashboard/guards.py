"""What stands before the application: known hosts only, reading only unless allowed, and security headers.

Without the first, a page anywhere could point its own name at 127.0.0.1 (DNS rebinding) and read the studies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from ipaddress import IPv6Address
from types import TracebackType
from typing import Any
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


LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  (recognised, not bound to)


def host_name(header: str) -> str:
    """The name in a Host header, or an address alone: without its port, in lower case, IPv6 at its shortest.

    >>> host_name("Board.example:8080"), host_name("[FD00:0::5]:8080"), host_name("fd00::5")
    ('board.example', 'fd00::5', 'fd00::5')
    """
    address = header[1:].partition("]")[0] if header.startswith("[") else header
    if address.count(":") > 1:  # a port stands behind brackets only
        with suppress(ValueError):
            return IPv6Address(address).compressed
        return address.lower()
    return header.partition(":")[0].lower().rstrip(".")


def is_host(name: str) -> bool:
    """Whether a Host header may name this: a host or an address that is opened, with or without its port.

    >>> [is_host(name) for name in ("board:8080", "fd00::5", "[fd00::5]:8080", "http://board", "0.0.0.0:80")]
    [True, True, True, False, False]
    """
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::\d{1,5})?", name)
    address = bracketed[1] if bracketed else name
    if host_name(name) in WILDCARDS:
        return False
    if bracketed or name.count(":") > 1:
        with suppress(ValueError):
            return bool(IPv6Address(address))
        return False
    return re.fullmatch(r"[A-Za-z0-9._-]+(?::\d{1,5})?", name) is not None


def page_address(host: str, port: int, names: Sequence[str] = ()) -> str:
    """Where a browser opens what listens on `host`, and may be called by `names`, too.

    >>> page_address("fd00::5", 8080), page_address("0.0.0.0", 8080), page_address("0.0.0.0", 8080, ["board"])
    ('http://[fd00::5]:8080', 'http://127.0.0.1:8080', 'http://board:8080')
    """
    if host in WILDCARDS:
        host = next(iter(names), "::1" if ":" in host else "127.0.0.1")
    name = host_name(host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


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


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

# What the application needs beyond its own origin (tests/dashboard/test_dashboard_pages.py opens it so):
# 'unsafe-inline' styles: its interface (emotion) and plotly write <style> elements at run time, and take no
# nonce from a server; 'unsafe-eval': plotly's parallel coordinates (regl) build their WebGL code with
# Function(); blob: and data: images: plotly's textures and "download as PNG". No inline script, nothing from
# elsewhere.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "media-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "object-src 'none'",
    )
)
FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
INLINE_FILES = ("image/png", "application/json")

_COMMON = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]
_REPLACED = {"content-security-policy", "server"} | {k.lower() for k, _ in _COMMON}
_UNCHANGING = ("/static/", "/favicon.ico")


class SecurityHeaders:
    """Sets the headers, and takes away what would let other sites read (`Access-Control-*`)."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        path = environ.get("PATH_INFO", "")

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None, /
        ) -> Callable[[bytes], Any]:
            return start_response(status, secured(path, headers), exc_info)

        return self._app(environ, start)


def secured(path: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of a response to a request for `path`."""
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() not in _REPLACED and not name.lower().startswith("access-control-")
    ]
    if path.startswith("/artifacts/"):
        kinds = [value for name, value in kept if name.lower() == "content-type"]
        kept = [(n, v) for n, v in kept if n.lower() not in ("content-disposition", "content-type")]
        # The type was stored by whoever stored the file. Only exactly these open; browsers read anything
        # around them ("image/png;, text/html") in ways of their own.
        if len(kinds) == 1 and kinds[0].strip().lower() in INLINE_FILES:
            kept.append(("Content-Type", kinds[0].strip().lower()))
        else:
            kept += [("Content-Type", "application/octet-stream"), ("Content-Disposition", "attachment")]
        kept.append(("Content-Security-Policy", FILE_POLICY))
    else:
        kept.append(("Content-Security-Policy", POLICY))
    if not path.startswith(_UNCHANGING):
        kept = [(name, value) for name, value in kept if name.lower() != "cache-control"]
        kept.append(("Cache-Control", "no-store"))
    return kept + _COMMON
