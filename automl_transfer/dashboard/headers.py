"""Security headers on every response; files of trials open in the browser only as PNG or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

# What the application needs beyond its own origin (tests/dashboard/test_pages.py opens it under this policy):
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
