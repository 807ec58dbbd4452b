"""optuna-dashboard's application for a store, behind our middlewares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from automl_transfer.dashboard.availability import Availability
from automl_transfer.dashboard.headers import SecurityHeaders
from automl_transfer.dashboard.hosts import HostCheck
from automl_transfer.dashboard.login import Login
from automl_transfer.dashboard.methods import ReadOnly, SameOriginWrites
from automl_transfer.errors import ConfigurationError, StoreUnavailableError
from automl_transfer.store import tables as t
from automl_transfer.store.retry import short

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from automl_transfer.store.store import Store


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
    from automl_transfer.store.optuna_view import cached_storage

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
    path = store.url.path
    if path is not None and not path.exists():
        return f"there is no file {path}"
    query = sa.select(t.studies.c.study_id).limit(1)
    try:
        store.with_patience(0).read(lambda c: c.execute(query).first(), "look for the studies")
    except StoreUnavailableError as error:
        return short(error.__cause__ or error)
    except SQLAlchemyError as error:
        return short(error)
    return None
