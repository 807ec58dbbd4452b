"""optuna-dashboard's application for a store, behind our middlewares, and while the store is away."""

from __future__ import annotations

import html
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from automl_transfer.dashboard.guards import HostCheck, ReadOnly, SameOriginWrites, SecurityHeaders
from automl_transfer.dashboard.login import Login
from automl_transfer.dashboard.responses import answer, page
from automl_transfer.errors import ConfigurationError, StoreUnavailableError
from automl_transfer.store import tables as t
from automl_transfer.store.retry import short

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from automl_transfer.store.store import Store


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


@dataclass(frozen=True)
class AppOptions:
    """How the application is wrapped.

    Attributes:
        hosts: Further names, besides those of this machine, that it may be reached under.
        token: What a request must bring; None asks for nothing.
        allow_writes: Let every method through, from the dashboard's own pages. The store must allow it too.
        artifacts: Folder of all artifacts, instead of the one that each study names.
    """

    hosts: Sequence[str] = ()
    token: str | None = None
    allow_writes: bool = False
    artifacts: Path | None = None


@dataclass(frozen=True)
class Dashboard:
    """The application. `login` is None where no token is asked for."""

    wsgi: WSGIApplication
    login: Login | None


def make_dashboard(store: Store, options: AppOptions) -> Dashboard:
    """Wrap the real application. What comes first here is asked last."""
    app: WSGIApplication = Availability(lambda: _optuna_dashboard(store, options), lambda: trouble(store))
    app = SameOriginWrites(app) if options.allow_writes else ReadOnly(app)
    login = Login(app, options.token) if options.token is not None else None
    app = HostCheck(login or app, options.hosts)
    return Dashboard(SecurityHeaders(app), login)


def _optuna_dashboard(store: Store, options: AppOptions) -> WSGIApplication:
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise ConfigurationError(
            "the dashboard must be installed, and its packages are not here: pip install "
            "'automl-transfer[dashboard]'"
        ) from None
    from automl_transfer.dashboard.artifacts import StudyArtifacts
    from automl_transfer.store.optuna_names import cached_storage

    # Connections from before an outage go; those in use are closed when they are returned.
    store.engine.dispose()
    storage = cached_storage(store.engine, str(store.url))
    files: Any = StudyArtifacts(store, options.artifacts)
    app = cast("WSGIApplication", wsgi(storage, artifact_store=files))

    def asked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # It looks for gzip in a header that not every client sends.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")
        return app(environ, start_response)

    return asked


def trouble(store: Store) -> str | None:
    """Why the database does not answer now; None where it does. Asked once, without patience."""
    if store.url.is_missing:
        return f"there is no file {store.url.path}"
    query = sa.select(t.studies.c.study_id).limit(1)
    try:
        store.with_patience(0).read(lambda c: c.execute(query).first(), "look for the studies")
    except StoreUnavailableError as error:
        return short(error.__cause__ or error)
    except SQLAlchemyError as error:
        return short(error)
    return None
