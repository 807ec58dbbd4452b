"""Where results are written: the folder is checked before any work, and files appear whole or not at all."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from automl_transfer.domain.strict_json import read_json
from automl_transfer.errors import ConfigurationError, OutputError
from automl_transfer.files import free_bytes, is_under_way, kind_at, whole_file

MARKER = "run.json"
MARKER_SCHEMA = "automl-transfer/run/2"
EARLIER_MARKER_SCHEMA = "automl-transfer/run/1"
MIN_FREE_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True)
class Owner:
    """The study whose results a folder holds, as its `run.json` says.

    Attributes:
        study: Its name when it last wrote there.
        identity: As in the store; None where a version before identities wrote the file.
        store: Fingerprint of its store's URL; None as well.
    """

    study: str
    identity: str | None = None
    store: str | None = None


def check_output_folder(folder: Path, need_bytes: int = MIN_FREE_BYTES) -> None:
    """Check that results can be written to a folder. Leaves nothing behind.

    A folder may be new, empty, or hold a run; whose run that may be is for `api.run_folder` to say.

    Raises:
        OutputError: A file is in the way, the folder is read-only or belongs to something else, or its
            disk has less than `need_bytes` free.
    """
    existing = nearest_existing(folder)
    if kind_at(existing, "the output", OutputError) != "folder":
        raise OutputError(f"the output must be a folder, got the file {existing}: choose another --output")
    if existing == folder:
        _check_content(folder)
    check_writable(existing, folder)
    if (free := free_bytes(existing)) < need_bytes:
        raise OutputError(
            f"the disk of the output must have {need_bytes / 1e6:.0f} MB free, got {free / 1e6:.0f} MB for "
            f"{folder}: free some, or choose an --output on another disk"
        )


def check_files(*files: Path | None, makes_folders: bool = False) -> None:
    """Before hours of work: files that are to be written must be able to be, each of its own name.

    Args:
        files: None for one that nobody asked for.
        makes_folders: Their folders need not exist yet.

    Raises:
        OutputError: One is a folder, lies in none that exists, or has a name that none can have; or two are
            the same.
    """
    given = [file for file in files if file is not None]
    for file in given:
        nearest_existing(file)  # a path that nobody can use is said as one
        folder = file.absolute().parent
        place = nearest_existing(folder) if makes_folders else folder
        there, beside = (kind_at(path, "the output", OutputError) for path in (file, place))
        if there == "folder" or beside != "folder":
            raise OutputError(
                f"the output must be a file in a folder that exists, got {file}: choose another"
            )
    if len({file.resolve() for file in given}) < len(given):
        raise OutputError(f"each output must be a file of its own, got {given[0]} twice: choose another")


def check_writable(existing: Path, wanted: Path | None = None) -> None:
    """Make a file in a folder and take it away again.

    Args:
        existing: The folder.
        wanted: The one that is to be made in it, for the message.

    Raises:
        OutputError: It cannot be written.
    """
    probe = existing / f".{secrets.token_hex(6)}.tmp"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"the output folder must be writable, got {wanted or existing} ({error.strerror}): choose "
            "another --output"
        ) from error


def make_folder(folder: Path) -> None:
    """Create a folder for results, and those above it, where they are missing.

    Raises:
        OutputError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create the folder {folder}: {error.strerror}") from error


def mark_output_folder(folder: Path, owner: Owner) -> None:
    """Create the folder where it is missing, and say whose it is, so that a rerun may write there again."""
    make_folder(folder)
    write_json(folder / MARKER, {"schema": MARKER_SCHEMA, **asdict(owner)})


def owner_of(folder: Path) -> Owner | None:
    """Whose results a folder holds; None where it holds none, or something else."""
    try:
        marker = read_json(folder / MARKER, OutputError)
    except (OutputError, ConfigurationError):
        return None
    name, identity, store = (marker.get(key) for key in ("study", "identity", "store"))
    if not isinstance(name, str):
        return None
    if marker.get("schema") == EARLIER_MARKER_SCHEMA:
        return Owner(name)
    if marker.get("schema") != MARKER_SCHEMA or not isinstance(identity, str) or not isinstance(store, str):
        return None
    return Owner(name, identity, store)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all; keys keep their order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name, then rename it.

    Raises:
        OutputError: It cannot be written; an earlier file of that name is still as it was.
    """
    try:
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def whole_folder(target: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends without an error.

    With `replace`, an existing folder is moved aside first and deleted last, so that the name always
    leads to a whole folder, but for the instant between two renames.

    Raises:
        OutputError: `target` exists and `replace` is False, it can be no name, or the disk refuses.
    """
    if not replace and is_taken(target):
        raise OutputError(f"a new folder must not exist yet, got {target}: remove it or choose another")
    tag = secrets.token_hex(6)
    temporary = target.with_name(f".{target.name[:80]}.{tag}.tmp")
    aside = target.with_name(f".{target.name[:80]}.{tag}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        try:
            if target.exists():
                target.rename(aside)
            temporary.rename(target)
        except BaseException:  # Ctrl-C, too
            if aside.exists() and not target.exists():
                aside.rename(target)
            raise
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        for leftover in (temporary, aside):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def without_file(path: Path) -> Iterator[None]:
    """With this file out of the way, for good where the block ends; an error puts it back as it was."""
    earlier = path.read_bytes() if path.is_file() else None
    path.unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        if earlier is not None:
            with suppress(OSError), whole_file(path) as part:
                part.write_bytes(earlier)
        raise


def nearest_existing(folder: Path) -> Path:
    """The folder itself, or the first one above it that is there.

    Raises:
        OutputError: The path cannot be used.
    """
    for place in (folder, *folder.absolute().parents):
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:  # too long, or with a null character
            raise OutputError(
                f"the output must be a usable path, got {str(folder)[:200]!r} "
                f"({getattr(error, 'strerror', None) or error}): choose another"
            ) from error
        return place
    raise OutputError(f"the output must be a usable path, got {folder}")


def is_taken(path: Path) -> bool:
    """Whether something has this name, a link that leads nowhere included.

    Raises:
        OutputError: The path cannot be used.
    """
    return nearest_existing(path) == path


def resolved(path: Path) -> Path:
    """The full path of an output, without links.

    Raises:
        OutputError: The path cannot be used.
    """
    nearest_existing(path)
    return path.resolve()


def _check_content(folder: Path) -> None:
    try:
        names = sorted(e.name for e in folder.iterdir() if not is_under_way(e.name))
    except OSError as error:
        raise OutputError(f"the output folder must be readable, got {folder} ({error.strerror})") from error
    if names and owner_of(folder) is None:
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise OutputError(
            f"the output folder must be new, empty or this study's own, got {folder} with {some}: "
            "choose another --output"
        )
