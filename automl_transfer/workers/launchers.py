"""Names of launchers. A new one is one file and one line here, or an entry point of another package.

The group of entry points is `automl_transfer.launchers`; what they give is called with a `WorkerCommand`.
"""

from __future__ import annotations

from automl_transfer import plugins
from automl_transfer.errors import ConfigurationError
from automl_transfer.workers.launcher import Launcher, WorkerCommand

LAUNCHERS: dict[str, str] = {
    "local": "workers.launcher:SubprocessLauncher",
    "inprocess": "workers.in_process:in_process",
    "ray": "workers.on_ray:RayLauncher",
    "slurm": "workers.on_slurm:SlurmLauncher",
}


def check(name: str) -> None:
    """Raise ConfigurationError where there is no launcher of this name here."""
    plugins.check("launchers", LAUNCHERS, name, noun="--launcher")


def make(name: str, command: WorkerCommand) -> Launcher:
    """The launcher of this name, for workers of one study.

    Raises:
        ConfigurationError: There is none (the message lists all), or a plugin adds it and is broken.
    """
    what = "a function or class (command) that gives a Launcher"
    found = plugins.chosen("launchers", LAUNCHERS, name, what, noun="--launcher")
    if name in LAUNCHERS:
        built: Launcher = found(command)
        return built
    launcher = plugins.made("launchers", name, found, command)
    if not isinstance(launcher, Launcher):
        raise ConfigurationError(
            f"the plugin for the launcher {name!r} must give a Launcher, got {launcher!r}"
        )
    return launcher
