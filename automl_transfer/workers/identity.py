"""A worker's name, from which other processes can tell, where that can be known, that it lives no more.

`HOST.KERNEL/PID-START/RANDOM`. HOST is for people: containers and copies of one image share host names.
KERNEL is a digest of what two processes have in common only where each sees the other in its list of
processes: this start of this kernel (its boot id), the process namespace, and when that namespace's first
process began, because the number of a namespace is used again after its end. START counts the kernel's
clock ticks, which a correction of the time of day does not move.

Whoever finds another KERNEL knows nothing about the worker; then only the age of its lease decides.
"""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_running: set[str] = set()
"""Workers of this process that are at work."""


def new_worker_id() -> str:
    """The name of a worker of this process: unique, also where process ids are used again."""
    host = "".join(c if c.isalnum() or c in "-_." else "-" for c in socket.gethostname())[:80]
    return f"{host}.{_kernel()}/{os.getpid()}-{_started(os.getpid())}/{secrets.token_hex(4)}"


@contextmanager
def at_work(worker_id: str) -> Iterator[None]:
    """Within the block this process runs the worker; what it holds afterwards was left behind."""
    _running.add(worker_id)
    try:
        yield
    finally:
        _running.discard(worker_id)


def is_dead(worker_id: str) -> bool:
    """Whether the worker certainly lives no more: this process would see its process, and does not.

    A worker of this very process is dead once it is not at work any more: an interrupt in a notebook may
    leave its lease behind. What this process could not see, and names that nothing here wrote, are never
    called dead.
    """
    machine, _, rest = worker_id.partition("/")
    pid, _, started = rest.partition("/")[0].partition("-")
    if machine.rpartition(".")[2] != _kernel() or not pid.isdigit() or not started.isdigit():
        return False
    if (int(pid), int(started)) == (os.getpid(), _started(os.getpid())):
        return worker_id not in _running
    try:
        found = _started(int(pid))
        return found != int(started) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ProcessLookupError):
        return True
    except (psutil.Error, OSError):
        return False


@functools.cache
def _kernel() -> str:
    known = _seen_from_here()
    # Without proof that others see this process, nobody shall think that they do.
    text = secrets.token_hex(16) if known is None else "\0".join(known)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _seen_from_here() -> tuple[str, ...] | None:
    """What all processes that see each other have in common, and no others; None where it is not known."""
    try:
        if not Path("/proc/self").exists():  # no Linux: one kernel, one list of processes
            return (socket.gethostname(), f"{psutil.boot_time():.0f}", f"{os.name} {_network_card()}")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat()
        # The clock of a time namespace of its own is set off; what it sees of others is, too.
        return (boot, f"{namespace.st_dev}:{namespace.st_ino}", str(_started(1)), _mount_of_processes())
    except (OSError, ValueError, psutil.Error):
        return None


def _started(pid: int) -> int:
    """When a process began: in the kernel's ticks since its start, else in seconds since 1970."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            raise ProcessLookupError(pid) from None
        return int(psutil.Process(pid).create_time())
    return int(text.rpartition(")")[2].split()[19])


def _mount_of_processes() -> str:
    """Whether this user sees the processes of others: with `hidepid` a living one looks like none."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        if before.split(" ")[4] == "/proc" and "hidepid=" in after:
            return f"user {os.getuid()}"
    return ""


def _network_card() -> str:
    import uuid

    return f"{uuid.getnode():x}"
