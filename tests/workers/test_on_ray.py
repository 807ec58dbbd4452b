"""Workers on a real Ray cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from worker_helpers import Process, TinyStudy, strategy, tiny_study, until

from automl_transfer.domain.records import StopKind, TrialState
from automl_transfer.errors import ConfigurationError
from automl_transfer.store.url import StoreURL
from automl_transfer.workers import launchers
from automl_transfer.workers.launcher import WorkerCommand

Start = Callable[..., Process]


class Nodes:
    """The cluster's process, and its address."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("ray_nodes.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.address = self._line()

    def tell(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        assert self._line() == what

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate(timeout=120)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    found = Nodes()
    yield found
    found.close()


@pytest.mark.timeout(600)  # three programs of a cluster start, perhaps beside other work
def test_a_node_is_killed_and_nothing_is_lost(
    postgres_url: str, tmp_path: Path, start: Start, nodes: Nodes
) -> None:
    strategies = [strategy(rate) for rate in (1e-3, 2e-3)]
    with tiny_study(postgres_url, tmp_path, strategies, max_epochs=600) as study:
        line = (
            "launch",
            "tiny",
            "--launcher",
            "ray",
            "--address",
            nodes.address,
            "-n",
            "2",
            "--threads",
            "1",
        )
        with held(postgres_url, "at_epochs", "INSERT INTO at_epochs%") as trained:
            with held(postgres_url, "trials", "%SKIP LOCKED%") as asked:
                launch = start(postgres_url, *line)
                until(lambda: asked() == 2, launch, seconds=180)  # however late one node's worker is
            until(lambda: trained() == 2, launch, seconds=180)
        until(lambda: both_in_the_middle(study, tmp_path), launch, seconds=180)
        nodes.tell("kill")
        until(lambda: "its node or its process is gone" in launch.said(), launch)
        nodes.tell("add")  # a machine joins a study that is being searched
        assert launch.wait(seconds=240) == 0, launch.said()
        assert "the study is finished" in launch.said()
        records = study.records()
    complete = [record for record in records if record.state is TrialState.COMPLETE]
    assert sorted(record.root for record in complete) == [0, 1]
    # Its worker saw its node go and gave its trial back, or was killed with it.
    assert {record.stop.kind for record in records if record not in complete and record.stop} <= {
        StopKind.CRASHED
    }
    for record in complete:
        assert [epoch.epoch for epoch in record.epochs] == list(range(1, 601))
    logs = brought_home(tmp_path)
    assert len(logs) == 2
    begun = [line for text in logs for line in text.splitlines() if "starts" in line or "goes on" in line]
    assert len(begun) == 3, logs  # two strategies, and once more the one that the node took with it


@contextlib.contextmanager
def held(url: str, table: str, statement: str) -> Iterator[Callable[[], int]]:
    """Whoever would write to a table waits until this ends; how many wait with such a statement."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query LIKE %s"
    )
    with psycopg.connect(url) as holds, psycopg.connect(url, autocommit=True) as looks:
        holds.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")  # type: ignore[call-overload]
        yield lambda: int(looks.execute(waiting, (statement,)).fetchone()[0])  # type: ignore[index]


def brought_home(folder: Path) -> list[str]:
    """What the workers have said, as far as it has come from their nodes."""
    return [path.read_text() for path in sorted(folder.rglob("worker-*.log"))]


def both_in_the_middle(study: TinyStudy, folder: Path) -> bool:
    """Each of two workers is far from its strategy's end, and that it began has come home."""
    running = [record for record in study.records() if record.state is TrialState.RUNNING]
    said = "".join(brought_home(folder))
    return len(running) == 2 and all(
        0 < len(record.epochs) < 300 and f"trial={record.number} root={record.root} " in said
        for record in running
    )


@pytest.mark.parametrize(
    ("settings", "threads", "said"),
    [
        ({"gpus": "2"}, 1, "a worker must fit on a node of the cluster, got 1 CPU, 2 GPU"),
        ({}, 64, "got 64 CPU, 0 GPU"),
        ({"gpus": "many"}, 1, "gpus of the launcher ray must be a number from 0 on, got 'many'"),
        ({"colour": "red"}, 1, "must be among address, gpus, memory, got colour"),
    ],
)
def test_what_no_node_has_is_refused(
    settings: dict[str, str], threads: int, said: str, tmp_path: Path, nodes: Nodes
) -> None:
    url = StoreURL.parse(f"sqlite:///{tmp_path / 's.db'}")
    command = WorkerCommand(
        "tiny", url, tmp_path / "logs", threads, settings={"address": nodes.address, **settings}
    )
    with pytest.raises(ConfigurationError, match=said):
        launchers.make("ray", command)
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_does_not_answer(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy()]):
        launch = start(url, "launch", "tiny", "--launcher", "ray", "--address", "127.0.0.1:1")
        assert launch.wait() == 2
    assert "the Ray cluster must answer at 127.0.0.1:1" in launch.said()
    assert "--address" in launch.said()
