"""A token, where one is asked for: in a form, in an Authorization header, or through a link that works once.

It comes from a file that only its owner can read, or from the environment.

The token itself is never in a URL, a cookie, a log or a process list. A browser keeps a random session
name that only this process knows, in a cookie that scripts cannot read and other sites cannot send.
"""

from __future__ import annotations

import hmac
import html
import os
import secrets
import threading
import time
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, quote
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from automl_transfer.dashboard.responses import answer, page
from automl_transfer.errors import ConfigurationError
from automl_transfer.files import read_secret, refuse_readable_by_others

COOKIE = "automl_transfer_session"
PATH = "/login"
SHORTEST = 16
SESSION_SECONDS = 12 * 3600.0
LINK_SECONDS = 600.0
_LONGEST_FORM = 4096
_MOST_SESSIONS = 1000

_FORM = """<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label for="token">{said}</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Open</button>
</form>"""


class Login:
    """Answers 401 until a request brings the token, or the session that it was exchanged for."""

    def __init__(self, app: WSGIApplication, token: str) -> None:
        self._app = app
        self._token = token.encode()
        # A browser sends one host's cookies to every port: each dashboard there has its own name for its own.
        self._cookie = f"{COOKIE}_{secrets.token_hex(4)}"
        self._sessions: dict[str, float] = {}
        self._links: dict[str, float] = {}
        self._lock = threading.Lock()

    def one_time_path(self) -> str:
        """A path that logs one browser in, once, within the next minutes."""
        code = secrets.token_urlsafe(24)
        with self._lock:
            self._links[code] = time.monotonic() + LINK_SECONDS
        return f"{PATH}?code={code}"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if environ.get("PATH_INFO") == PATH:
            if environ["REQUEST_METHOD"] == "POST":
                return self._from_form(environ, start_response)
            if environ["REQUEST_METHOD"] == "GET" and "code=" in environ.get("QUERY_STRING", ""):
                return self._from_link(environ, start_response)
        if self._has_session(environ) or self._has_token(environ):
            return self._app(environ, start_response)
        wanted = quote(environ.get("PATH_INFO", "") or "/")
        return self._refuse(environ, start_response, "This dashboard asks for its token", wanted)

    def _from_form(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            length = min(int(environ.get("CONTENT_LENGTH") or 0), _LONGEST_FORM)
        except ValueError:
            length = 0
        fields = parse_qs(environ["wsgi.input"].read(length).decode("utf-8", "replace"))
        given, wanted = fields.get("token", [""])[0], fields.get("next", ["/"])[0]
        if not self._is_token(given.strip()):
            return self._refuse(environ, start_response, "That was not the token", wanted)
        return self._welcome(start_response, wanted)

    def _from_link(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        code = parse_qs(environ["QUERY_STRING"]).get("code", [""])[0]
        with self._lock:
            good = self._links.pop(code, 0.0) > time.monotonic()
        if not good:
            said = "That link was used before, or is too old. The token still works"
            return self._refuse(environ, start_response, said, "/")
        return self._welcome(start_response, "/")

    def _welcome(self, start_response: StartResponse, wanted: str) -> Iterable[bytes]:
        session, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            self._sessions = {name: end for name, end in self._sessions.items() if end > now}
            while len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[session] = now + SESSION_SECONDS
        cookie = f"{self._cookie}={session}; HttpOnly; SameSite=Strict; Path=/; Max-Age={SESSION_SECONDS:.0f}"
        start_response(
            "303 See Other",
            [("Location", _local(wanted)), ("Set-Cookie", cookie), ("Content-Length", "0")],
        )
        return []

    def _refuse(
        self, environ: WSGIEnvironment, start_response: StartResponse, said: str, wanted: str
    ) -> Iterable[bytes]:
        form = _FORM.format(said=html.escape(f"{said}."), next=html.escape(_local(wanted), quote=True))
        return answer(
            environ,
            start_response,
            HTTPStatus.UNAUTHORIZED,
            f"{said}: log in with a browser, or send it as 'Authorization: Bearer TOKEN'",
            body=page("automl-transfer dashboard", form),
            headers=[("WWW-Authenticate", "Bearer")],
        )

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token)

    def _has_token(self, environ: WSGIEnvironment) -> bool:
        kind, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        return kind.lower() == "bearer" and self._is_token(given.strip())

    def _has_session(self, environ: WSGIEnvironment) -> bool:
        # By hand: other programs of this host set cookies, too, and the library's reader stops at odd ones.
        cookies = (each.strip().partition("=") for each in environ.get("HTTP_COOKIE", "").split(";"))
        found = [value for name, _, value in cookies if name == self._cookie]
        with self._lock:
            return any(self._sessions.get(value, 0.0) > time.monotonic() for value in found)


def _local(wanted: str) -> str:
    """Where to go after the login: a path of this site, and nothing that a browser reads as another one."""
    safe = wanted.startswith("/") and not wanted.startswith(("//", "/\\", PATH)) and wanted.isprintable()
    return quote(wanted, safe="/%?=&-._~") if safe else "/"


ENVIRONMENT_VARIABLE = "AUTOML_TRANSFER_DASHBOARD_TOKEN"


def read_token(file: Path | None) -> str | None:
    """The token: the first line of `file`, else the environment; None where neither says one.

    Raises:
        ConfigurationError: A file that is missing, empty or readable by others, or a token that is too short.
    """
    if file is None:
        token = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
        return _checked(token, ENVIRONMENT_VARIABLE) if token else None
    text = read_secret(
        file,
        "--token-file",
        "the token",
        ConfigurationError,
        f'. Make one: (umask 077; python -c "import secrets; print(secrets.token_urlsafe(24))" > {file})',
    )
    refuse_readable_by_others(file, "token", ConfigurationError)
    return _checked(text, str(file))


def _checked(token: str, where: str) -> str:
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable():
        raise ConfigurationError(
            f"a token must have at least {SHORTEST} printable ASCII characters, got {len(token)} characters "
            f"in {where}"
        )
    return token
