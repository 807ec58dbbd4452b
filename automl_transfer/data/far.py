"""Datasets behind a URL (`s3://bucket/photos`, `https://host/images.npz`): copied here, then as any other.

Only what is new or has changed is fetched again, as its size and its version (ETag, checksum or time of
change) tell. Files that are no images are not fetched: an empty file of their name stands for them, so that
the account counts them. Who may read them is said by settings of the driver (AWS_PROFILE), never by the URL.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from automl_transfer.aborting import check_abort
from automl_transfer.data.decode import SUFFIXES
from automl_transfer.data.table_file import FORMATS
from automl_transfer.data.walk import suffix_of
from automl_transfer.errors import ConfigurationError, DataError, OutputError
from automl_transfer.files import free_bytes, locked, read_own_json, reason, shared_folder, whole_file
from automl_transfer.machine import cache_folder
from automl_transfer.redaction import redacted

logger = logging.getLogger(__name__)

SCHEMA = "automl-transfer/far/1"
FETCHED = SUFFIXES | FORMATS.keys() | {".npz", ".tar", ".txt", ""}
"""Endings of files that are fetched: images, what holds or names them, and what may be an image."""
AT_ONCE = 16
"""Files that are fetched at the same time: each waits for the network most of its time."""
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "updated", "mtime")
_HIDDEN = "far.json"


@dataclass(frozen=True)
class Far:
    """Where copies are kept, and who is told of the fetching; by default the user's cache, and nobody."""

    cache_root: Path | None = None
    progress: Callable[[str, int, int], None] | None = None


@dataclass(frozen=True)
class _File:
    path: str
    size: int
    version: str

    @property
    def fetched(self) -> bool:
        return suffix_of(PurePosixPath(self.path).name) in FETCHED


def is_far(text: str) -> bool:
    """Whether a dataset's name is a URL.

    >>> [is_far(text) for text in ("s3://bucket/photos", "photos/cats", "digits?per_class=20")]
    [True, False, False]
    """
    return "://" in text


def mirrored(url: str, far: Far) -> Path:
    """The local copy of a far folder or file, brought up to date.

    Where the place does not answer, a copy that was whole before is used, and a warning says so.

    Raises:
        ConfigurationError: The URL holds a password, or its driver is not installed.
        DataError: There is nothing, or names that cannot be files here.
        OutputError: The copy cannot be written.
    """
    name = _name(url)
    root = far.cache_root or cache_folder()
    place = root / "far" / hashlib.sha256(url.encode()).hexdigest()[:16]
    try:
        shared_folder(place, root)
        with locked(place / "far.lock", root=root):
            return _bring(url, place, name, far)
    except OSError as error:
        raise OutputError(
            f"the copy of {redacted(url)} must be writable, got {error.strerror or error} at {str(place)!r}: "
            "free some space, or choose another folder with --cache"
        ) from error


def _bring(url: str, place: Path, name: str, far: Far) -> Path:
    target, known = place / name, _known(place)
    fs, root = _connected(url)
    try:
        there = _listed(fs, root)
    except FileNotFoundError:
        raise DataError(f"a far dataset must be there, got nothing at {redacted(url)}") from None
    # Another package's code, and a network: whatever it raises, the place did not answer.
    except Exception as error:
        if known is None or not target.exists() or not _is_whole(place):
            raise DataError(
                f"a far dataset must be readable, got {redacted(reason(error))} from {redacted(url)}: check "
                "the address, and the settings of its driver"
            ) from error
        logger.warning("%s does not answer (%s): its copy is used", redacted(url), redacted(reason(error)))
        return target
    known = known or {}
    # Where a server tells no version, another content may have the same size.
    new = [
        file for file in there
        if known.get(file.path) != [file.size, file.version] or not file.version
        or not _at(target, file.path).exists()
    ]  # fmt: skip
    needed = sum(file.size for file in new if file.fetched)
    if (free := free_bytes(place)) < needed:
        raise OutputError(
            f"the copy of a far dataset needs {needed:,} bytes of disk, got {free:,} free at {str(place)!r}: "
            "free some space, or choose another folder with --cache"
        )
    for gone in known.keys() - {file.path for file in there}:
        _remove(target, gone)
    # What is fetched again must not count as there if this is broken off.
    fetched = {file.path for file in new}
    _note(place, {path: state for path, state in known.items() if path not in fetched}, whole=not new)
    _fetch_all(fs, root, new, target, lambda done: _tell(far, url, done, len(new)))
    _note(place, {file.path: [file.size, file.version] for file in there})
    return target


def refuse_password(url: str, what: str) -> None:
    """Raise ConfigurationError where a URL that will be kept says who may read it."""
    parts = urlsplit(url)
    if parts.password is not None or (parts.username and parts.scheme in ("http", "https")):
        raise ConfigurationError(
            f"{what} must hold no password, got one for {parts.hostname}: it would stand in the store. Say "
            "who you are with settings of the driver (AWS_PROFILE, ~/.netrc, ...)"
        )


def _name(url: str) -> str:
    refuse_password(url, "a dataset's URL")
    parts = urlsplit(url)
    name = PurePosixPath(parts.path.rstrip("/") or parts.netloc).name or parts.netloc
    if name in ("", ".", ".."):
        raise DataError(f"a dataset's URL must name a folder or a file, got {redacted(url)}")
    return name


def _connected(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"a dataset's URL must be of a kind whose driver is installed, got {redacted(url)}: "
            f"{redacted(reason(error))}"
        ) from error
    return fs, root.rstrip("/")


def _listed(fs: Any, root: str) -> list[_File]:
    """All files below a place, by their names relative to it; a file's own name is empty."""
    fs.invalidate_cache()
    info = fs.info(root)
    if info["type"] != "directory":
        return [_File("", int(info.get("size") or 0), _version(info))]
    found = []
    for path, each in fs.find(root, detail=True).items():
        relative = path[len(root) :].lstrip("/")
        if path.startswith(root) and relative and not path.endswith("/"):
            found.append(_File(_safe(relative), int(each.get("size") or 0), _version(each)))
    names = {file.path for file in found}
    for file in found:
        if any(str(parent) in names for parent in PurePosixPath(file.path).parents):
            raise DataError(
                f"a far folder must have names that files can have, got {file.path!r} below another file: "
                "rename one"
            )
    if not found:
        raise FileNotFoundError(root)
    return sorted(found, key=lambda file: file.path)


def _version(info: Mapping[str, Any]) -> str:
    return next((str(info[name]) for name in _VERSIONS if info.get(name)), "")


def _safe(path: str) -> str:
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or "\x00" in path:
        raise DataError(f"a far folder must have names that files can have, got {path!r}: rename it")
    return path


def _at(target: Path, path: str) -> Path:
    return target / path if path else target


def _remove(target: Path, path: str) -> None:
    """Remove a file, and the folders that are empty without it: they would be classes without images."""
    place = _at(target, path)
    place.unlink(missing_ok=True)
    for folder in place.parents:
        if folder == target or target not in folder.parents or any(folder.iterdir()):
            break
        folder.rmdir()


def _fetch_all(fs: Any, root: str, files: Sequence[_File], target: Path, told: Callable[[int], None]) -> None:
    """Fetch some at a time; where one cannot be, or that is asked for, the others are given up."""
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for done, _ in enumerate(pool.map(lambda file: _fetch(fs, root, file, target), files), start=1):
            check_abort()
            told(done)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _tell(far: Far, url: str, done: int, total: int) -> None:
    if far.progress is not None:
        far.progress(f"fetching {redacted(url)}", done, total)


def _fetch(fs: Any, root: str, file: _File, target: Path) -> None:
    path = _at(target, file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        if not file.fetched:
            part.touch()
            return
        try:
            fs.get_file(f"{root}/{file.path}" if file.path else root, str(part))
        except FileNotFoundError:
            raise DataError(
                f"a far dataset must stay as it is while it is read, {file.path!r} went away"
            ) from None
        except OSError as error:
            if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
                raise
            raise DataError(f"a far file must be readable, got {reason(error)} for {file.path!r}") from error
        if file.size and part.stat().st_size != file.size:
            raise DataError(
                f"a far file must come whole, got {part.stat().st_size:,} of {file.size:,} bytes of "
                f"{file.path!r}: run it again"
            )


def _known(place: Path) -> dict[str, list[Any]] | None:
    try:
        found = read_own_json(place / _HIDDEN)
        return dict(found["files"]) if found["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_whole(place: Path) -> bool:
    """Whether nothing was being fetched when the copy was left; those of earlier versions do not say."""
    return bool(read_own_json(place / _HIDDEN).get("whole", True))


def _note(place: Path, files: Mapping[str, list[Any]], *, whole: bool = True) -> None:
    with whole_file(place / _HIDDEN) as part:
        told = {"schema": SCHEMA, "whole": whole, "files": files}
        part.write_text(json.dumps(told), encoding="utf-8")
