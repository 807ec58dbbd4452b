"""The few answers that are ours and not the application's: small pages for people, JSON for its scripts."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIEnvironment

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto 0; padding: 0 1rem; }}
h1 {{ font-size: 1.3rem; }}
label {{ display: block; margin-bottom: .25rem; }}
input, button {{ font: inherit; padding: .4rem .7rem; }}
input {{ width: 60%; }}
</style></head>
<body><main><h1>{title}</h1>
{body}
</main></body></html>
"""


def wants_page(environ: WSGIEnvironment) -> bool:
    """Whether a person navigates there, rather than a script that fetches."""
    return "text/html" in environ.get("HTTP_ACCEPT", "")


def page(title: str, body: str, *, head: str = "") -> bytes:
    """A whole page. `body` and `head` are HTML; `title` is text."""
    return _PAGE.format(title=html.escape(title), body=body, head=head).encode()


def answer(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    status: HTTPStatus,
    reason: str,
    *,
    body: bytes | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> Iterable[bytes]:
    """End a request here.

    Args:
        environ: Of the request: decides between a page and JSON.
        start_response: Of the request.
        status: Of the response.
        reason: The rule that was broken, as a sentence.
        body: The page for a person; None makes one of the reason.
        headers: Further headers.
    """
    if wants_page(environ):
        kind = "text/html; charset=utf-8"
        content = body if body is not None else page(status.phrase, f"<p>{html.escape(reason)}</p>")
    else:
        kind, content = "application/json", json.dumps({"reason": reason}).encode()
    if environ["REQUEST_METHOD"] == "HEAD":
        shown: list[bytes] = []
    else:
        shown = [content]
    start_response(
        f"{status.value} {status.phrase}",
        [("Content-Type", kind), ("Content-Length", str(len(content))), *headers],
    )
    return shown
