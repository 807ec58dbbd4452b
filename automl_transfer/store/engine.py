"""Engines for both databases, set so that a transaction excludes others and a broken line is noticed."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from automl_transfer.errors import StoreUnavailableError
from automl_transfer.store.sqlite_files import UnwritableFile, may_write
from automl_transfer.store.url import StoreURL

READ_ONLY = "automl_transfer_read"
"""Execution option: the transaction only reads, so on SQLite it need not wait for the writer."""

SQLITE_BUSY_SECONDS = 10.0


def make_engine(url: StoreURL, *, bootstrap: bool = False, read_only: bool = False) -> sa.Engine:
    """An engine on the store.

    SQLite: WAL, `synchronous=NORMAL` (a crash of a process loses nothing; a power cut may undo the
    last commits, and leaves the file consistent), and BEGIN IMMEDIATE, because SQLite ignores FOR
    UPDATE. PostgreSQL: limits on waiting and on idle transactions, so that a frozen worker cannot
    hold a lock for ever.

    Args:
        url: Of the store.
        bootstrap: For Optuna's own schema creation, which reads through a second connection while the
            first one is open and would block itself under BEGIN IMMEDIATE.
        read_only: The database itself refuses writes on these connections. For processes that live
            long and mostly wait: a connection that broke meanwhile is replaced before it is used.
    """
    if read_only:
        return _read_only_engine(url)
    if url.is_sqlite:
        engine = sa.create_engine(
            url.sqlalchemy,
            connect_args={"timeout": SQLITE_BUSY_SECONDS},
            **({"poolclass": sa.NullPool} if bootstrap else {"pool_size": 8, "max_overflow": 24}),
        )
        event.listen(engine, "connect", _sqlite_bootstrap_connect if bootstrap else _sqlite_connect)
        if not bootstrap:
            event.listen(engine, "begin", _SameFile(url))
            event.listen(engine, "begin", _sqlite_begin)
        return engine
    engine = sa.create_engine(
        url.sqlalchemy,
        connect_args=_postgres_arguments(url),
        isolation_level="READ COMMITTED",
        **({"poolclass": sa.NullPool} if bootstrap else {"pool_size": 4, "max_overflow": 12}),
    )
    event.listen(engine, "connect", _postgres_connect)
    return engine


def _read_only_engine(url: StoreURL) -> sa.Engine:
    pool: dict[str, Any] = {"pool_size": 4, "max_overflow": 12, "pool_pre_ping": True}
    if url.path is not None:
        # mode=rw does not create a file that is gone, and still reads a WAL that needs its index made.
        uri = f"{url.path.absolute().as_uri()}?mode=rw"
        unwritable = None if may_write(url.path) else UnwritableFile(url.path)

        def connect() -> sqlite3.Connection:
            file = uri if unwritable is None else unwritable.uri()
            return sqlite3.connect(file, uri=True, timeout=SQLITE_BUSY_SECONDS, check_same_thread=False)

        kept = {"poolclass": sa.QueuePool, **pool} if unwritable is None else {"poolclass": sa.NullPool}
        engine = sa.create_engine(url.sqlalchemy, creator=connect, **kept)
        event.listen(engine, "connect", _sqlite_read_only_connect)
        return engine
    engine = sa.create_engine(
        url.sqlalchemy, connect_args=_postgres_arguments(url), isolation_level="READ COMMITTED", **pool
    )
    event.listen(engine, "connect", _postgres_connect)
    event.listen(engine, "connect", _postgres_read_only_connect)
    return engine


def _sqlite_read_only_connect(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()


def _postgres_read_only_connect(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('default_transaction_read_only', 'on', false)")
    connection.commit()


def _sqlite_bootstrap_connect(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; _sqlite_begin does
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


class _SameFile:
    """Refuses to go on in a database whose file was deleted or replaced.

    Connections that are open would write into what no name leads to any more, and the next one would make
    an empty file: a search would end as if all had gone well.
    """

    def __init__(self, url: StoreURL) -> None:
        self._path = str(url.path)
        self._first: tuple[int, int] | None = None

    def __call__(self, _connection: sa.Connection) -> None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  (asked before every transaction)
        except OSError:
            there = None
        else:
            there = found.st_dev, found.st_ino
        self._first = self._first or there
        if there != self._first:
            raise StoreUnavailableError(
                f"the file of a SQLite store must stay while it is used, {self._path} was "
                f"{'deleted' if there is None else 'replaced'}. Start again; what it held is lost, unless "
                "there is a backup"
            )


def _sqlite_begin(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _postgres_arguments(url: StoreURL) -> dict[str, Any]:
    defaults = {
        "connect_timeout": 10,
        "application_name": "automl-transfer",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    return {name: value for name, value in defaults.items() if name not in url.sqlalchemy.query}


def _postgres_connect(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', '30s', false), set_config('statement_timeout', '120s', false),"
            " set_config('idle_in_transaction_session_timeout', '60s', false)"
        )
    connection.commit()


class now(FunctionElement[float]):  # noqa: N801  (reads as the SQL function it is)
    """Seconds since 1970 on the database's clock."""

    type = sa.Float(53)
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(_element: now, _compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgres(_element: now, _compiler: Any, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class utc(FunctionElement[Any]):  # noqa: N801
    """The database's clock as Optuna stores times: UTC without a zone."""

    type = sa.DateTime()
    inherit_cache = True


@compiles(utc, "sqlite")
def _utc_sqlite(_element: utc, _compiler: Any, **_: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(utc, "postgresql")
def _utc_postgres(_element: utc, _compiler: Any, **_: Any) -> str:
    return "timezone('utc', clock_timestamp())"
