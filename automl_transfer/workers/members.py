"""A worker of several devices: one process each, of which the first one is the worker.

The process that was started starts them all and watches. It hands signals to the first one alone, whose exit
code is its own; the others leave with the first. Whoever starts them by torchrun says `--devices`, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from automl_transfer.errors import ConfigurationError
from automl_transfer.importing import import_torch
from automl_transfer.machine import end_with_parent, usable_cores
from automl_transfer.workers.launcher import import_path
from automl_transfer.workers.signals import handling

MEET = "AUTOML_TRANSFER_MEET"
"""Names, in the environment of a member, the file by which they find each other."""
PATIENCE = 20.0
"""Seconds that the others have to leave after the first one; and the first, after another has died."""
LOST = 1
"""Exit code where a member died: the worker may be started again."""


SHARD = ("ddp", "fsdp")


def rank(devices: int) -> int | None:
    """This process's number among the members of a worker of so many devices; None where it is no member.

    Raises:
        ConfigurationError: Who started it meant something else.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if devices < 2 or started < 2 or "RANK" not in os.environ:
        return None
    if started != devices:
        raise ConfigurationError(
            f"--devices must be the processes that torchrun started, got {devices} where WORLD_SIZE is "
            f"{started}: say --devices {started}, or start the worker without torchrun"
        )
    if MEET not in os.environ and not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise ConfigurationError(
            "RANK and WORLD_SIZE must come from torchrun, with MASTER_ADDR and MASTER_PORT, got them alone: "
            "unset both, and --devices starts the processes itself, or start it by torchrun"
        )
    return int(os.environ["RANK"])


def check_shard(shard: str, devices: int) -> None:
    """Raise ConfigurationError where there is no such way, or nothing to share."""
    if shard not in SHARD:
        raise ConfigurationError(f"--shard must be one of {', '.join(SHARD)}, got {shard!r}")
    if shard != "ddp" and devices < 2:
        raise ConfigurationError(
            f"--shard {shard} shares weights between devices, got --devices {devices}: ask for two or more, "
            "or leave it out"
        )


def check(devices: int, device: str) -> None:
    """Raise ConfigurationError where so many devices are not here, or are not told apart."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigurationError(
            f"--devices {devices} takes --device auto, cpu or cuda, of which each has its own, got {device!r}"
        )
    if device == "cpu":
        return
    import_torch()
    import torch

    gpus = torch.cuda.device_count()
    if gpus < devices and (device == "cuda" or (device == "auto" and gpus)):
        raise ConfigurationError(
            f"--devices must be at most the GPUs of this machine, got {devices} where there are {gpus}: ask "
            "for fewer, or for --device cpu"
        )


def device_of(name: str, number: int) -> str:
    """The device of a member, where the worker's is `auto`, `cpu` or `cuda`.

    >>> device_of("cpu", 1), device_of("cuda", 1)
    ('cpu', 'cuda:1')
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return f"{name}:{number}" if name == "cuda" else name


def run_members(devices: int, threads: int | None) -> int:
    """Run this command's own line once a device; returns the first member's exit code."""
    line = [sys.executable, "-P", "-m", "automl_transfer", *sys.argv[1:]]
    each = str(max(1, (threads or usable_cores()) // devices))
    with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
        environment = {
            **os.environ,
            **import_path(),
            MEET: f"file://{Path(folder) / 'meet'}",
            "WORLD_SIZE": str(devices),
            "LOCAL_WORLD_SIZE": str(devices),
            "OMP_NUM_THREADS": each,
            "MKL_NUM_THREADS": each,
        }
        members = [_start(line, environment, number) for number in range(devices)]
        try:
            with handling(lambda number, _: _hand_on(members[0], number)):
                return _watch(members)
        finally:
            for member in members:
                if member.poll() is None:
                    member.kill()
                member.wait()


def _hand_on(member: subprocess.Popen[bytes], number: int) -> None:
    if member.poll() is None:
        member.send_signal(number)


def _start(line: list[str], environment: Mapping[str, str], number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        line,
        env={**environment, "RANK": str(number), "LOCAL_RANK": str(number)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C reaches the first one once, from here
        preexec_fn=end_with_parent,
    )


def _watch(members: list[subprocess.Popen[bytes]]) -> int:
    first, others = members[0], members[1:]
    ends: float | None = None
    while (code := first.poll()) is None:
        if ends is None and any(other.poll() not in (None, 0) for other in others):
            # Its connection is closed: the first one notices, and gives its trial back.
            ends = time.monotonic() + PATIENCE
        if ends is not None and time.monotonic() > ends:
            return LOST
        time.sleep(0.05)
    deadline = time.monotonic() + PATIENCE
    while any(other.poll() is None for other in others) and time.monotonic() < deadline:
        time.sleep(0.05)
    if ends is not None and code == 0:
        return LOST
    return code if code >= 0 else LOST
