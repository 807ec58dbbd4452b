"""Commands as processes of their own that have nothing to import: each is forked from one that did it once.

Half of what a short command takes is importing large libraries. Tests that are about what a command says and
writes run `command()` in place of `python -m automl_transfer`; those about processes that are told something, killed
or followed by others `start` one, whose number is its own. What such a process launches comes from the forge, too:
its `sys.executable` stands for the program, hands signals on, and takes the process with it when it is killed. What
is about starting itself is started as users do. Where the first argument is a `.py` file, that script is run instead.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
line, apart = sys.argv[1:], {apart}
if apart:
    if line[:3] != ["-P", "-m", "automl_transfer"]:
        os.execv({python!r}, [{python!r}, *line])
    del line[:3]
HANDED_ON = {{signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU}}
signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
there = socket.socket(socket.AF_UNIX)
there.connect({place!r})
asked = json.dumps([line, os.getcwd(), dict(os.environ), apart]).encode("utf-8", "surrogateescape")
socket.send_fds(there, [len(asked).to_bytes(8, "big")], [0, 1, 2])
there.sendall(asked)
child = int.from_bytes(there.recv(4, socket.MSG_WAITALL), "big")
if not child:
    os._exit(70)
def hand_on(number, frame):
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass
for number in HANDED_ON:
    signal.signal(number, hand_on)
signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
code, killed = there.recv(2, socket.MSG_WAITALL) or (70, 0)
if killed:
    if code - 128 != signal.SIGKILL:
        signal.signal(code - 128, signal.SIG_DFL)
    os.kill(os.getpid(), code - 128)
os._exit(code)
"""


class Forged:
    """A process from the forge: what a test asks of a `subprocess.Popen`."""

    def __init__(self, there: socket.socket) -> None:
        self._there = there
        self.returncode: int | None = None
        self.pid = int.from_bytes(there.recv(4, socket.MSG_WAITALL), "big")

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._there], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("automl-transfer", timeout or 0.0)
            code, killed = self._there.recv(2, socket.MSG_WAITALL) or b"\xff\x00"
            self._there.close()
            self.returncode = 128 - code if killed else code
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(arguments: Sequence[str], environment: Mapping[str, str], stream: BinaryIO) -> Forged:
    """A process in a session of its own that says all to one stream."""
    there = socket.socket(socket.AF_UNIX)
    there.connect(str(Path(command()).with_name("socket")))
    asked = json.dumps([list(arguments), str(Path.cwd()), dict(environment), True])
    with Path(os.devnull).open("rb") as nothing:
        text = asked.encode("utf-8", "surrogateescape")
        outputs = [nothing.fileno(), stream.fileno(), stream.fileno()]
        socket.send_fds(there, [len(text).to_bytes(8, "big")], outputs)
        there.sendall(text)
    return Forged(there)


@functools.cache
def command() -> str:
    """The program to run in place of `automl-transfer`; its forge ends with this process.

    A process whose environment names a forge's (`FORGE`) takes that one.
    """
    if given := os.environ.get("FORGE"):
        return given
    folder = Path(tempfile.mkdtemp(prefix="forge-"))
    program, python, place = folder / "automl-transfer", folder / "python", folder / "socket"
    for client in (program, python):
        text = CLIENT.format(python=sys.executable, place=str(place), apart=client is python)
        client.write_text(text)
        client.chmod(0o755)
    # Who waits for another process must not burn the core that it needs; a program sets these for itself, too late here.
    waiting = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
    environment = {**os.environ, **waiting, "OMP_NUM_THREADS": "1"}
    forge = subprocess.Popen([sys.executable, __file__, str(place)], stdout=subprocess.PIPE, env=environment)

    def end() -> None:
        forge.kill()
        forge.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    assert forge.stdout is not None
    assert forge.stdout.readline() == b"ready\n"
    return str(program)


def serve(place: str) -> None:
    """Fork a process for every command that is asked for, as long as whoever started this is there."""
    _import_all()
    door = socket.socket(socket.AF_UNIX)
    door.bind(place)
    door.listen(64)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    owner = os.getppid()
    door.settimeout(1.0)
    print("ready", flush=True)
    while os.getppid() == owner:
        with contextlib.suppress(TimeoutError):
            asker, _ = door.accept()
            if os.fork() == 0:
                door.close()
                sys.executable = str(Path(place).with_name("python"))
                _watch(asker)
            asker.close()


def _watch(asker: socket.socket) -> None:
    """Run what is asked for in one more process, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(asker, 8, 3)
    text = b""
    while len(text) < int.from_bytes(head, "big"):
        text += asker.recv(1 << 20)
    child = os.fork()
    if child == 0:
        asker.close()
        _become(streams, *json.loads(text.decode("utf-8", "surrogateescape")))
    with contextlib.suppress(OSError):
        asker.sendall(child.to_bytes(4, "big"))
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    if ended not in select.select([ended, asker], [], [])[0]:  # whoever asked is gone
        signal.pidfd_send_signal(ended, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        asker.sendall(bytes([code if code >= 0 else 128 - code, code < 0]))
    os._exit(0)


def _become(
    streams: list[int], arguments: list[str], folder: str, environment: dict[str, str], apart: bool = False
) -> None:
    code: Any = 70
    try:
        if apart:
            os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, encoding="utf-8", errors=errors, buffering=1)
            for number, mode, errors in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))
        )
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None
        sys.path[:0] = [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]
        if arguments and arguments[0].endswith(".py"):
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
        else:
            sys.argv = ["automl-transfer", *arguments]
            from automl_transfer.cli.main import main

            main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def _import_all() -> None:
    import automl_transfer
    from automl_transfer.importing import import_timm, import_torchvision

    import_timm()
    import_torchvision()
    for found in pkgutil.walk_packages(automl_transfer.__path__, "automl_transfer."):
        if not found.name.startswith(("automl_transfer.dashboard", "automl_transfer.__main__")):
            importlib.import_module(found.name)


if __name__ == "__main__":
    serve(sys.argv[1])
