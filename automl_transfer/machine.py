"""What this machine allows: processor cores, a home folder, a folder for caches; and where results lie.

Asked here and nowhere else, so that a container's limits and a user without a home count everywhere.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NoReturn

import platformdirs

log = logging.getLogger(__name__)

NAME = "automl-transfer"


def usable_cores() -> int:
    """Cores that this process can keep busy: its affinity, bounded by its control groups' quota; >= 1."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def cpu_quota(process: Path = Path("/proc/self"), root: Path = Path("/")) -> float | None:
    """Cores' worth of time that control groups grant this process; None where nothing bounds it.

    Both versions are read, as the kernel's documentation states them: version 2 has `cpu.max` ("QUOTA
    PERIOD" or "max PERIOD"), version 1 `cpu.cfs_quota_us` (-1 for none) and `cpu.cfs_period_us`. Every
    group from the process's own up to the top of its mount bounds it.

    Args:
        process: The process's folder in procfs.
        root: Of the file system; tests have one of their own.
    """
    try:
        groups = (process / "cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (process / "mountinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    quotas = []
    for line in groups:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mounted, read = _mounted(mounts, "cgroup2", None), _version_2
        elif "cpu" in controllers.split(","):
            mounted, read = _mounted(mounts, "cgroup", "cpu"), _version_1
        else:
            continue
        if mounted is None:
            continue
        top, group = mounted
        for folder in _groups(top, group, path):
            quota = read(root / folder.lstrip("/"))
            if quota is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def _mounted(mounts: list[str], kind: str, controller: str | None) -> tuple[str, str] | None:
    """Where a hierarchy is mounted, and which of its groups is at that place."""
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields, described = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(described) < 3 or described[0] != kind:
            continue
        if controller is None or controller in described[2].split(","):
            return fields[4], fields[3]
    return None


def _groups(top: str, group: str, path: str) -> list[str]:
    """Folders of a process's group and of those above it, as far as they are mounted."""
    try:
        below = PurePosixPath(path).relative_to(group)
    except ValueError:  # a container that sees its own group at the mount, but the host's path
        below = PurePosixPath()
    return [str(PurePosixPath(top) / place) for place in (below, *below.parents)]


def _version_2(folder: Path) -> float | None:
    quota, _, period = _first_line(folder / "cpu.max").partition(" ")
    return _share(quota, period)


def _version_1(folder: Path) -> float | None:
    return _share(_first_line(folder / "cpu.cfs_quota_us"), _first_line(folder / "cpu.cfs_period_us"))


def _share(quota: str, period: str) -> float | None:
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def ensure_home() -> None:
    """Give this process a home where it has none: no HOME, and no entry in the list of users.

    Containers run as such users. Libraries look for HOME by themselves, so it is set, for child processes
    too; the folder is private and the same for every process of the user.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_private_folder())


def cache_folder() -> Path:
    """The user's cache folder; one among the temporary files where that cannot be written."""
    ensure_home()
    folder = Path(platformdirs.user_cache_dir(NAME, appauthor=False))
    if _writable(folder):
        return folder
    instead = _private_folder() / "cache"
    log.info("the cache folder %s cannot be written: %s is used", folder, instead)
    return instead


def state_folder() -> Path:
    """The user's folder for what must outlive a process; as `cache_folder` where that cannot be written."""
    ensure_home()
    folder = Path(platformdirs.user_state_dir(NAME, appauthor=False))
    return folder if _writable(folder) else _private_folder() / "state"


def path_of(text: str | os.PathLike[str]) -> Path:
    """A path as a person writes it: a leading `~` is their home folder, `~NAME` that of a user who exists."""
    ensure_home()
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:  # ~NAME of nobody: a name like any other
        return path


def _writable(folder: Path) -> bool:
    for place in (folder, *folder.parents):
        if os.path.exists(place):  # noqa: PTH110 never raises
            return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    return False


def _private_folder() -> Path:
    """A folder among the temporary files that only this user can change, whoever knows its name."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"{NAME}-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022:
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix=f"{NAME}-"))


RUNS = Path("runs")
"""Results of studies, a folder each."""
DEFAULT_DATABASE = RUNS / "automl-transfer.db"


def end_with_parent() -> None:
    """On Linux the kernel sends SIGTERM to this process when its parent ends, however that ends.

    To be run in a child process before its program begins.
    """
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    set_signal_of_parents_death = 1
    ctypes.CDLL(None).prctl(set_signal_of_parents_death, signal.SIGTERM)


def end_at_once(code: int) -> NoReturn:
    """End this process without taking the interpreter down; what was registered for its end is done."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there may be none, or nobody reads it any more
            stream.flush()
    os._exit(code)
