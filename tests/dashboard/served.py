"""One small real study on SQLite, and dashboards that serve it: in this process, or as a process of its own."""

from __future__ import annotations

import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forge
import pytest
from waitress import wasyncore

from automl_transfer.api.search import run_study
from automl_transfer.dashboard.app import AppOptions, Dashboard, make_dashboard
from automl_transfer.dashboard.server import Server
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL

SPEC = StudySpec(
    name="shown",
    task=TaskSpec(dataset="digits?per_class=20"),
    search=SearchSpec(trials=4, max_epochs=2, pruner="none", sampler="random"),
    space={"truncation": (3, 4), "tune_mode": ("head", "suffix"), "learning_rate": (1e-4, 1e-2)},
)


@dataclass
class Finished:
    """A finished search, and where it lies."""

    folder: Path
    url: StoreURL
    study_id: int


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("a finished search")
    url = StoreURL.parse(f"sqlite:///{folder / 'store.db'}")
    run_study(SPEC, storage=url, output=folder / "run", device="cpu", cache_root=folder / "cache")
    with Store.open(url) as store:
        return Finished(folder, url, store.study("shown").study_id)


@dataclass
class Served:
    """A dashboard under a real server in this process."""

    base: str
    dashboard: Dashboard
    store: Store

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case and body. Redirects are not followed."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.base + path, data=body, method=method, headers=names)
        try:
            with urllib.request.build_opener(_Stay).open(request, timeout=60) as answer:
                return answer.status, _lower(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, _lower(error.headers), error.read()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


Serve = Callable[..., Served]


@contextmanager
def _serving(url: StoreURL, options: AppOptions) -> Iterator[Served]:
    with Store.open(url, read_only=not options.allow_writes) as store:
        dashboard = make_dashboard(store, options)
        server = Server(dashboard.wsgi, "127.0.0.1", 0, writable=options.allow_writes)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        yield Served(f"http://127.0.0.1:{server.port}", dashboard, store)
        waiting = server._server
        with suppress(OSError):  # something else has woken the loop, which has closed its trigger already
            waiting.trigger.pull_trigger(lambda: wasyncore.close_all(waiting._map))
        thread.join(timeout=30)
        waiting.task_dispatcher.shutdown()


@pytest.fixture
def serve(finished: Finished) -> Iterator[Serve]:
    """Start a dashboard on the finished study, or on another store."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(url: StoreURL | None = None, **options: Any) -> Served:
            return stack.enter_context(_serving(url or finished.url, AppOptions(**options)))

        yield start


@dataclass
class Running:
    """`automl-transfer dashboard` as a process."""

    process: subprocess.Popen[str]
    line: str
    base: str


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start the command on a free port; returns once it serves."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str | Path, **environment: str) -> Running:
        import os

        with (tmp_path / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [forge.command(), "dashboard", "--port", "0", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, **environment},
            )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[^/\s]+:\d+", line)
        assert found, (line, (tmp_path / "stderr").read_text())
        return Running(process, line, found[0])

    yield run
    for process in started:
        process.terminate()
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        process.stdout.close()


def copy_of(finished: Finished, folder: Path) -> StoreURL:
    """The finished study's database, to be changed; its artifacts stay where they are."""
    import sqlite3

    path = finished.url.path
    assert path is not None
    with sqlite3.connect(path) as source, sqlite3.connect(folder / "copy.db") as copy:
        source.backup(copy)
    source.close()
    copy.close()
    return StoreURL.parse(f"sqlite:///{folder / 'copy.db'}")
