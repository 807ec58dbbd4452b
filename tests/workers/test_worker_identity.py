"""Who a worker is (D12): two that cannot see each other never call each other dead; those that can, do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automl_transfer.workers import identity
from automl_transfer.workers.identity import at_work, is_dead, new_worker_id

NAME = "from automl_transfer.workers.identity import *; print(new_worker_id(), flush=True); input()"
ASK = "import sys; from automl_transfer.workers.identity import is_dead; print(is_dead(sys.argv[1]))"


def other() -> tuple[subprocess.Popen[str], str]:
    """A process that waits, and the name of its worker."""
    process = subprocess.Popen(
        [sys.executable, "-c", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_process_of_this_machine_is_seen_to_live_and_to_end() -> None:
    process, name = other()
    assert not is_dead(name)
    process.kill()
    while process.poll() is None:
        time.sleep(0.01)
    assert is_dead(name)
    process.communicate()


def test_a_zombie_is_dead() -> None:
    process, name = other()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it ended, and nobody has taken note
    assert is_dead(name)
    process.communicate()


def test_a_process_id_that_was_used_again_is_another_process() -> None:
    process, name = other()
    host, pid_and_start, rest = name.split("/")
    pid, start = pid_and_start.split("-")
    assert is_dead(f"{host}/{pid}-{int(start) - 1}/{rest}")
    end(process)


def test_the_time_of_day_does_not_matter() -> None:
    """The start counts the kernel's ticks: psutil's seconds since 1970 move when the clock is corrected."""
    _, pid_and_start, _ = new_worker_id().split("/")
    ticks = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    assert pid_and_start == f"{os.getpid()}-{ticks}"


@pytest.mark.parametrize(
    "name", ["w", "", "a/b/c", "host.abc/1-x/y", "host/99999999-1/ab", "laptop.f1/2-3/4"]
)
def test_other_machines_and_foreign_names_are_never_called_dead(name: str) -> None:
    assert not is_dead(name)


def test_workers_of_earlier_versions_are_left_to_their_leases() -> None:
    import socket

    inode = Path("/proc/self/ns/pid").stat().st_ino
    assert not is_dead(f"{socket.gethostname()}.{inode:x}/99999999-1795638402/ab12cd34")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to make a process namespace")
def test_two_containers_with_one_host_name_never_call_each_other_dead() -> None:
    """Real process namespaces under one kernel and one host name: in each, the other's process is not there."""
    process, outside = other()
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c"]
    inside = subprocess.Popen(
        [*unshare, NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert inside.stdout is not None
    named = inside.stdout.readline().strip()
    if not named:
        end(process)
        pytest.skip(f"no namespaces here: {inside.communicate()[1]}")
    answer = subprocess.run([*unshare, ASK, outside], capture_output=True, text=True, check=True).stdout
    assert named.partition(".")[0] == outside.partition(".")[0]
    assert answer.strip() == "False"
    assert not is_dead(named)
    inside.communicate("")
    assert not is_dead(named), "its end cannot be seen from here: its lease decides"
    end(process)


@pytest.mark.parametrize("differs", [0, 1, 2])
def test_each_part_of_what_is_seen_counts(differs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boot, namespace, and the start of the namespace's first process, whose number may be used again."""
    ours = identity._seen_from_here()
    assert ours is not None
    theirs = tuple("else" if place == differs else part for place, part in enumerate(ours))
    monkeypatch.setattr(identity, "_seen_from_here", lambda: theirs)
    identity._kernel.cache_clear()
    name = new_worker_id().replace(str(os.getpid()), "99999999")
    monkeypatch.undo()
    identity._kernel.cache_clear()
    assert not is_dead(name)
    assert is_dead(new_worker_id().replace(str(os.getpid()), "99999999"))


def test_where_nothing_proves_it_nobody_is_called_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_seen_from_here", lambda: None)
    identity._kernel.cache_clear()
    name = new_worker_id().replace(str(os.getpid()), "99999999")
    identity._kernel.cache_clear()
    assert not is_dead(name)
    monkeypatch.undo()
    identity._kernel.cache_clear()


def test_what_this_process_left_behind_is_dead() -> None:
    """D16: a kernel that lives on does not keep the lease of a search that was interrupted."""
    name = new_worker_id()
    with at_work(name):
        assert not is_dead(name)
    assert is_dead(name)
