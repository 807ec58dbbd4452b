"""A worker's name, from which other processes of the same machine can tell whether it still lives."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import psutil


def _machine() -> str:
    """The host, and the process namespace where there are several on one host (containers)."""
    namespace = Path("/proc/self/ns/pid")
    try:
        inode = f".{namespace.stat().st_ino:x}"
    except OSError:
        inode = ""
    return f"{socket.gethostname()}{inode}"[:120]


def new_worker_id() -> str:
    """`MACHINE/PID-START/RANDOM` of this process: unique, also where process ids are used again."""
    started = int(psutil.Process().create_time())
    return f"{_machine()}/{os.getpid()}-{started}/{secrets.token_hex(4)}"


def is_dead(worker_id: str) -> bool:
    """Whether the worker certainly lives no more: of this machine, and its process is gone.

    Workers of other machines, and names that nothing here wrote, are never called dead.
    """
    machine, _, rest = worker_id.partition("/")
    process = rest.partition("/")[0]
    pid, _, started = process.partition("-")
    if machine != _machine() or not pid.isdigit() or not started.isdigit():
        return False
    try:
        found = psutil.Process(int(pid))
        same = abs(int(found.create_time()) - int(started)) <= 1
        return not same or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
