"""A launcher of another package: it types the command into a shell, as a batch system would."""

import shlex
import subprocess

from automl_transfer.workers.launcher import Launcher, StartedWorker


class Typed(Launcher):
    def __init__(self, command):
        self.command = command
        command.logs.mkdir(parents=True, exist_ok=True)

    def start(self, index):
        return Shell(self.command, index)


class Shell(StartedWorker):
    def __init__(self, command, index):
        log = command.logs / f"worker-{index}.log"
        line = f"exec {shlex.join(command.arguments(index))} >> {shlex.quote(str(log))} 2>&1"
        self.process = subprocess.Popen(["sh", "-c", line], env=command.environment(), start_new_session=True)
        self.name = str(self.process.pid)

    def poll(self):
        return self.process.poll()

    def ask(self):
        self.process.terminate()

    def kill(self):
        self.process.kill()
