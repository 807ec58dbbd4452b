"""Files that several processes, users or programs touch: locks, shared folders, permissions, foreign ones."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from automl_transfer.aborting import Aborted
from automl_transfer.errors import AutomlTransferError, UserError
from automl_transfer.machine import path_of

if TYPE_CHECKING:
    from torch import Tensor


log = logging.getLogger(__name__)

__all__ = ["Timeout", "locked"]

_NO_LOCKS = frozenset(
    number
    for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP")
    if (number := getattr(errno, name, None)) is not None
)
"""What `flock` answers on file systems that do not know it, or whose lock service is not there."""


@contextmanager
def locked(path: Path, *, timeout: float = -1.0, root: Path | None = None) -> Iterator[None]:
    """Within the block no other process is within a block on the same path.

    The kernel's lock, which goes with the process that holds it. Some network file systems have none; there
    the lock is a second file, whose existence counts, and which is cleared away once its process is gone
    from this machine.

    Args:
        path: Of the lock's file; made where it is missing.
        timeout: Seconds to wait; negative for as long as it takes.
        root: A folder that may be shared: who may write there may take the lock, see `share`.

    Raises:
        Timeout: Another process held it all that time.
        OSError: The file cannot be made.
    """
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except (OSError, NotImplementedError) as error:
        if not isinstance(error, NotImplementedError) and error.errno not in _NO_LOCKS:
            raise
        log.debug("%s has no locks of the kernel (%s): a file stands for one", path.parent, error)
        lock = SoftFileLock(path.with_name(f"{path.name}.held"))
        lock.acquire(timeout=timeout)
    if root is not None:
        share(path, root)
    try:
        yield
    finally:
        lock.release()


def shared_folder(folder: Path, root: Path) -> None:
    """Make a folder below `root`, and those between, as open to other users as the root is.

    So one folder serves several users where its owner opened it to them (`chmod 1777`, or a group's), and
    stays this user's own where not.
    """
    missing = []
    for place in (folder, *folder.parents):
        if place.exists():
            break
        missing.append(place)
    folder.mkdir(parents=True, exist_ok=True)
    for place in reversed(missing):
        if root in place.parents:
            share(place, root)


def share_all(folder: Path, root: Path) -> None:
    """Open a folder and the files in it, see `share`."""
    for path in (folder, *folder.iterdir()):
        share(path, root)


def share(path: Path, root: Path) -> None:
    """Open a file or folder of ours to those who may write in `root`; closes nothing."""
    with suppress(OSError):
        mode = root.stat().st_mode
        extra = (0o070 if mode & 0o020 else 0) | (0o007 if mode & 0o002 else 0)
        extra = extra | mode & 0o3000 if path.is_dir() else extra & 0o666
        there = stat.S_IMODE(path.stat().st_mode)
        if there | extra != there:
            path.chmod(there | extra)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file with the permissions of any new file; the library itself makes it private.

    Raises:
        OSError: It cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    usual = stat.S_IMODE(path.stat().st_mode)
    try:
        save_file(dict(tensors), str(path), metadata)
    except SafetensorError as error:  # a full disk, too
        raise OSError(None, str(error), str(path)) from error
    if stat.S_IMODE(path.stat().st_mode) != usual:
        path.chmod(usual)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path`: what is written there becomes `path` when the block ends without an error.

    A process that dies leaves either the earlier file or the whole new one.

    Raises:
        OSError: It cannot be written; or `path` is a folder, `.` and `..` included.
    """
    if path.name in ("", "..") or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def kind_at(
    path: Path, what: str, error: type[UserError]
) -> Literal["file", "folder", "something else"] | None:
    """What lies at a path that somebody named; None where nothing does.

    `Path.exists` and its like raise where nobody can look.

    Args:
        path: A link counts as what it leads to.
        what: What it shall be, for people.
        error: Raised where nobody can look.

    Raises:
        error: The name is too long or no name, a folder may not be entered, or a link leads in a circle.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as failure:
        why = getattr(failure, "strerror", None) or reason(failure)
        raise error(f"{what} must be within reach, got {str(path)[:200]}: {why}") from failure
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "something else"


def is_under_way(name: str) -> bool:
    """Whether a file of this name is being written by `whole_file`, or was left by a process that died."""
    return re.fullmatch(r"\..+\.[0-9a-f]{12}\.tmp", name) is not None


def free_bytes(folder: Path) -> int:
    """Of the disk where a folder is, or will be."""
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_own_json(path: Path) -> Any:
    """What a JSON file of ours holds, whatever has become of it meanwhile.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not UTF-8, not JSON, or nests too deep to be ours.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it nests too deep") from None


def read_secret(path: Path, option: str, what: str, error: type[UserError], hint: str = "") -> str:
    """The first line of a text file that says something: not empty, and no comment; "" where there is none.

    Args:
        path: Of the file.
        option: How it was named.
        what: What the line must be, for people.
        error: Raised where the file cannot be read.
        hint: What to do then.
    """
    path = path_of(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "not a text file"
        raise error(
            f"{option} must be a readable file whose first line is {what}, got {path} ({reason}){hint}"
        ) from None
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def refuse_readable_by_others(path: Path, holds: str, error: type[UserError]) -> None:
    """Raise `error` where a file that `holds` a secret is more open than whoever uses it could help.

    A file that is ours must be readable and writable by us only. One that somebody else owns, or that lies
    on a file system mounted read-only, was given to us as it is (secrets that Kubernetes or Docker mounts
    have modes 0440 and 0444, and nobody within can change that): it is taken, unless others could write it.
    """
    if os.name != "posix":
        return
    found = path_of(path).stat()
    mode = stat.S_IMODE(found.st_mode)
    given = found.st_uid != os.geteuid() or bool(os.statvfs(path_of(path)).f_flag & os.ST_RDONLY)
    if given and mode & 0o022:
        raise error(
            f"a file with a {holds} must not be writable by others than its owner, got {path} with mode "
            f"{mode:03o}. Its owner runs: chmod go-w {path}"
        )
    if not given and mode & 0o077:
        raise error(
            f"a file with a {holds} must be readable by its owner only, got {path} with mode {mode:03o}. "
            f"Run: chmod 600 {path}"
        )


@contextmanager
def reading(rule: str, name: object, error: type[UserError], todo: str = "") -> Iterator[None]:
    """Within the block a foreign file is read: no exception leaves it but this package's own.

    Readers of other packages raise nearly anything at a file that is damaged or made up, and no list of
    their exceptions is ever whole.

    >>> from automl_transfer.errors import DataError
    >>> with reading("an .npz must be whole", "a.npz", DataError, "copy it again"):
    ...     b"".index(b"PK")
    Traceback (most recent call last):
        ...
    automl_transfer.errors.DataError: an .npz must be whole, got a.npz: subsection not found: copy it again

    Args:
        rule: What the file must be.
        name: The file.
        error: What is raised.
        todo: What to do about it.
    """
    try:
        yield
    except (AutomlTransferError, Aborted):
        raise
    except Exception as failure:  # every one of them: that is the point
        after = f": {todo}" if todo else ""
        raise error(f"{rule}, got {name}: {reason(failure)}{after}") from failure


def reason(failure: BaseException) -> str:
    """One line about an exception of someone else's."""
    if isinstance(failure, MemoryError):
        return "it needs more memory than there is"
    if isinstance(failure, RecursionError):
        return "it is nested too deeply"
    text = " ".join((str(failure).splitlines() or [""])[0].split())
    if isinstance(failure, KeyError):
        text = f"{text} is missing"
    return text[:200] or type(failure).__name__
