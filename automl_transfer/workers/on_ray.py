"""Workers on the nodes of a Ray cluster, each placed where its processors and GPUs are free.

The worker is the same program as everywhere: an actor starts it on its node, hands its log over, and ends
with it. Where a node is lost, its actor is, too: the supervisor starts another one, and Ray finds a place
for it. What does not fit yet waits until a node joins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import automl_transfer
from automl_transfer.errors import ConfigurationError
from automl_transfer.machine import end_with_parent
from automl_transfer.workers.launcher import WRONG_USAGE, Launcher, Settings, StartedWorker, WorkerCommand
from automl_transfer.workers.signals import INTERRUPTED

NODE_LOST = 1
"""Exit code of a worker whose node or process is gone: it is started again."""
CONNECT_SECONDS = 10.0
LAST_WORDS = 2.0
"""Seconds in which a worker's end is brought home before its actor is ended."""


def release() -> str:
    """What must be the same on all nodes."""
    return f"automl-transfer {automl_transfer.__version__} on Python {platform.python_version()}"


class OnNode:
    """Runs one worker on the node where this object lives; what it holds is the worker's process and log.

    Args:
        options: Of the command line, behind `python`.
        variables: Added to the node's environment.
        expected: What `release` says where the launcher runs.
    """

    def __init__(self, options: list[str], variables: dict[str, str], expected: str) -> None:
        self._log = Path(tempfile.mkdtemp(prefix="automl-transfer-")) / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None
        if release() != expected:
            self._log.write_text(
                f"all nodes must have one release, got {release()} on {socket.gethostname()} and {expected} "
                "where the command runs: install the same version on both\n"
            )
            return
        with self._log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, *options],
                env={**os.environ, **_where_this_is(), **variables},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def look(self, since: int) -> tuple[int | None, bytes]:
        """The worker's exit code, None while it lives; and what it has logged since so many bytes."""
        code = WRONG_USAGE if self._process is None else self._process.poll()
        with self._log.open("rb") as stream:
            stream.seek(since)
            return code, stream.read()

    def end(self, number: int) -> None:
        """Send the worker a signal."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


class RayLauncher(Launcher):
    """Starts workers as actors of a Ray cluster.

    Settings: `address` of the cluster (HOST:PORT, ray://HOST:PORT, or auto, the one of this machine), `gpus`
    of each worker (0.5: two share one), `memory` in GB that is to be free for each.

    Raises:
        ConfigurationError: Ray is not installed, the address does not answer, no node has as many processors
            or GPUs as a worker asks for, or the store is a file that other nodes would not find.
    """

    def __init__(self, command: WorkerCommand) -> None:
        settings = Settings("ray", command.settings)
        address = settings.text("address", "auto")
        gpus, memory = settings.number("gpus", 0.0), settings.number("memory", 0.0)
        settings.end()
        self._ray = _ray()
        _connect(self._ray, address)
        try:
            nodes = [node for node in self._ray.nodes() if node["Alive"]]
            _one_store(command, nodes)
            threads = command.threads or _threads_on(nodes, command.workers)
            asked = {"CPU": float(threads), "GPU": gpus, "memory": 1e9 * memory}
            _must_fit(asked, nodes)
        except BaseException:
            self.close()
            raise
        self._command = dataclasses.replace(command, threads=threads)
        self._actor = self._ray.remote(OnNode).options(
            num_cpus=threads,
            num_gpus=gpus or None,
            memory=int(1e9 * memory) or None,
            max_restarts=0,  # the supervisor starts workers again, and tells why
            scheduling_strategy="SPREAD",
        )
        command.logs.mkdir(parents=True, exist_ok=True)

    def start(self, index: int) -> StartedWorker:
        """Ask for one actor; it begins where and when there is room for it."""
        command = self._command
        actor = self._actor.remote(command.options(index), command.variables(), release())
        return _Actor(self._ray, actor, index, command.logs / f"worker-{index}.log")

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


class _Actor(StartedWorker):
    def __init__(self, ray: Any, actor: Any, index: int, log: Path) -> None:
        self._ray, self._actor, self._log = ray, actor, log
        self._code: int | None = None
        self._lives = False
        self._read, self._words = 0, ""
        self._looking = actor.look.remote(0)
        self.name = f"ray-{index}"

    def poll(self) -> int | None:
        if self._code is None and self._ray.wait([self._looking], timeout=0)[0]:
            self._take()
        return self._code

    def _take(self) -> None:
        try:
            code, text = self._ray.get(self._looking)
        except self._ray.exceptions.RayError as error:
            # The first line says what happened; the others, how Ray works.
            said = str(error).strip().splitlines() or [type(error).__name__]
            self._end(NODE_LOST, f"its node or its process is gone: {said[0]}")
            return
        self._lives = True
        self._read += len(text)
        if text:
            with self._log.open("ab") as stream:
                stream.write(text)
            self._words = text.decode("utf-8", "replace").strip().rpartition("\n")[2][:500] or self._words
        if code is None:
            self._looking = self._actor.look.remote(self._read)
        else:
            self._end(code, self._words)

    def _end(self, code: int, words: str) -> None:
        self._code, self._words = code, words
        self._ray.kill(self._actor)

    def ask(self) -> None:
        if self._code is not None:
            return
        if self._lives:
            self._actor.end.remote(signal.SIGTERM)
        else:  # it waits for a place, or begins just now, and has no trial
            self._end(INTERRUPTED, "")

    def kill(self) -> None:
        if self._code is None:
            self._ray.wait([self._actor.end.remote(signal.SIGKILL)], timeout=LAST_WORDS)
            self._end(-signal.SIGKILL, self._words)

    def last_words(self) -> str:
        return self._words


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    try:
        import ray
    except ImportError:
        raise ConfigurationError(
            "the launcher ray needs Ray, which is not installed here: pip install 'automl-transfer[ray]'"
        ) from None
    return ray


def _connect(ray: Any, address: str) -> None:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    refused = (
        f"the Ray cluster must answer at {address}, got {{}}: start one with `ray start --head`, or give its "
        "address with --address"
    )
    if host and port.isdigit():
        # Ray itself would try for minutes.
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise ConfigurationError(refused.format(error)) from error
    try:
        with _own_signals():
            ray.init(address=address, namespace="automl-transfer", logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigurationError(refused.format(said[0])) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Within the block Ray may set handlers of signals; afterwards they are what they were."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _one_store(command: WorkerCommand, nodes: list[dict[str, Any]]) -> None:
    elsewhere = sorted({node["NodeManagerHostname"] for node in nodes} - {socket.gethostname()})
    if command.url.is_sqlite and elsewhere:
        raise ConfigurationError(
            f"workers on several machines must share a PostgreSQL store, got a SQLite file and "
            f"{', '.join(elsewhere[:3])}: create the study with --storage postgresql://..."
        )


def _threads_on(nodes: list[dict[str, Any]], workers: int) -> int:
    """The cluster's processors, divided; no more than the largest node has."""
    processors = [node["Resources"].get("CPU", 0.0) for node in nodes]
    return max(1, int(min(max(processors), sum(processors) / workers)))


def _must_fit(asked: dict[str, float], nodes: list[dict[str, Any]]) -> None:
    """Each worker must fit on some node; how many of them do at once is Ray's to find out."""
    if any(all(node["Resources"].get(n, 0.0) >= much for n, much in asked.items()) for node in nodes):
        return
    there = "; ".join(
        ", ".join(f"{node['Resources'].get(name, 0.0):g} {name}" for name in asked) for node in nodes[:5]
    )
    wanted = ", ".join(f"{much:g} {name}" for name, much in asked.items())
    raise ConfigurationError(
        f"a worker must fit on a node of the cluster, got {wanted} where the nodes have {there}: ask for "
        "less with --threads and --gpus-per-worker, or add a larger node"
    )


def _where_this_is() -> dict[str, str]:
    """Where this package is no installed one on the node, the worker finds it as its actor did."""
    folder = Path(automl_transfer.__file__).resolve().parents[1]
    if folder.name in ("site-packages", "dist-packages"):
        return {}
    given = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{given}" if given else str(folder)}
