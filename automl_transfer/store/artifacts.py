"""The artifact store: whole files and folders under keys, in a folder or in object storage (fsspec)."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from automl_transfer.errors import OutputError, UserError
from automl_transfer.redaction import redacted

_MARK = ".complete"
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Stored:
    """What was written: its digest over names and contents, and its size."""

    uri: str
    sha256: str
    bytes: int


class ArtifactStore:
    """Files and folders that all workers can reach.

    Keys are relative, with forward slashes; spaces and any language are fine. What can be listed or
    read is whole: a folder on a file system is written under a temporary name and renamed; in object
    storage, which cannot rename, a folder counts only once its mark has been written, last.

    Args:
        url: A path, or a URL that fsspec knows (`s3://bucket/folder`, with that driver installed).
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UserError(
                "an artifact URL must be a folder or a URL whose fsspec driver is installed, got "
                f"{redacted(url)!r} ({redacted(str(error))})"
            ) from None
        self._root = str(root).rstrip("/")
        self._local = "file" in _protocols(self._fs)

    @property
    def local_folder(self) -> Path | None:
        """The folder, where the artifacts are on this machine; None for object storage."""
        return Path(self._root) if self._local else None

    def put(self, source: Path, key: str) -> Stored:
        """Store a file or a folder under a key, replacing what was there. Safe to repeat.

        Raises:
            OutputError: The place cannot be written (no permission, no space).
        """
        target = self._path(key)
        digest, size = digest_of(source)
        try:
            if self._local:
                _put_local(source, Path(target))
            else:
                self._put_remote(source, target)
        except OSError as error:
            raise OutputError(
                f"artifacts must be writable, {key!r} in {redacted(self.url)} is not: "
                f"{error.strerror or redacted(str(error))}"
            ) from error
        return Stored(key, digest, size)

    def get(self, key: str, to: Path) -> str:
        """Fetch what is stored under a key to a path that does not exist yet; returns its sha256.

        Raises:
            FileNotFoundError: Nothing whole is stored under this key.
        """
        if not self.exists(key):
            raise FileNotFoundError(
                f"an artifact must be stored before it is read, {key!r} is not in {redacted(self.url)}"
            )
        to.parent.mkdir(parents=True, exist_ok=True)
        temporary = to.with_name(f"{_PARTIAL}{uuid.uuid4().hex}")
        source = self._path(key)
        try:
            if self._local:
                _copy(Path(source), temporary)
            elif self._fs.isdir(source):
                self._get_folder(source, temporary)
            else:
                self._fs.get_file(source, str(temporary))
            digest, _ = digest_of(temporary)
            temporary.replace(to)
        finally:
            _remove(temporary)
        return digest

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading. The caller closes it.

        Raises:
            FileNotFoundError: Nothing is stored under this key; a link, which leads elsewhere, is not.
        """
        path = self._path(key)
        if self._local and not _stored(Path(self._root), Path(path)):
            raise FileNotFoundError(f"an artifact must be a file in {redacted(self.url)}, {key!r} is none")
        return cast("BinaryIO", self._fs.open(path, "rb"))

    def exists(self, key: str) -> bool:
        """Whether something whole is stored under a key."""
        path = self._path(key)
        if not self._fs.exists(path):
            return False
        if self._local or not self._fs.isdir(path):
            return True
        return bool(self._fs.exists(f"{path}/{_MARK}"))

    def delete(self, key: str) -> bool:
        """Remove what is stored under a key, a folder with all that it holds. Safe to repeat.

        For keys that this program composed (`store.files`), never for one that was read somewhere.

        Returns:
            Whether there was anything.
        """
        path = self._path(key)
        try:
            if not self._local and self._fs.exists(f"{path}/{_MARK}"):
                self._fs.rm_file(f"{path}/{_MARK}")  # first, so that no half of it is ever listed
            if not self._fs.exists(path):
                return False
            self._fs.rm(path, recursive=True)
        except FileNotFoundError:
            return False
        return True

    def delete_file(self, key: str) -> bool:
        """Remove the file under a key; False when there is none. A folder stays: nothing below it goes."""
        path = self._path(key)
        try:
            if not self._fs.isfile(path):
                return False
            self._fs.rm_file(path)
        except FileNotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        """Bytes of the file that is stored under a key; 0 when there is none."""
        try:
            return int(self._fs.size(self._path(key)) or 0)
        except FileNotFoundError:
            return 0

    def list(self, prefix: str = "") -> list[str]:
        """Keys of the files below a prefix, sorted; unfinished ones are left out."""
        root = self._path(prefix) if prefix else self._root
        if not self._fs.exists(root):
            return []
        # Object stores keep listings in memory; a key that another worker wrote must be seen.
        self._fs.invalidate_cache()
        found = [str(path)[len(self._root) :].lstrip("/") for path in self._fs.find(root)]
        return sorted(k for k in found if _PARTIAL not in k and PurePosixPath(k).name != _MARK)

    def _path(self, key: str) -> str:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or "\\" in key or "\x00" in key:
            raise ValueError(f"an artifact key must be relative, without '..' or backslashes, got {key!r}")
        return f"{self._root}/{'/'.join(parts)}"

    def _put_remote(self, source: Path, target: str) -> None:
        if source.is_file():
            self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self._fs.put_file(str(source), target)
            return
        if self._fs.exists(target):
            if self._fs.exists(f"{target}/{_MARK}"):
                self._fs.rm_file(f"{target}/{_MARK}")
            self._fs.rm(target, recursive=True)
        for path in _files(source):
            remote = f"{target}/{path.relative_to(source).as_posix()}"
            self._fs.makedirs(remote.rsplit("/", 1)[0], exist_ok=True)
            self._fs.put_file(str(path), remote)
        self._fs.pipe_file(f"{target}/{_MARK}", b"")

    def _get_folder(self, source: str, to: Path) -> None:
        for remote in self._fs.find(source):
            relative = str(remote)[len(source) :].lstrip("/")
            if relative == _MARK:
                continue
            local = to / relative
            local.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(remote, str(local))


def digest_of(path: Path) -> tuple[str, int]:
    """Hex sha256 and total bytes of a file, or of a folder's relative names and contents, sorted."""
    digest, size = hashlib.sha256(), 0
    for file in [path] if path.is_file() else _files(path):
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\x00")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                size += len(block)
    return digest.hexdigest(), size


def _files(folder: Path) -> list[Path]:
    return sorted(
        (p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.relative_to(folder).as_posix()
    )


def _put_local(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{_PARTIAL}{uuid.uuid4().hex}")
    old = target.with_name(f"{_PARTIAL}old-{uuid.uuid4().hex}")
    try:
        _copy(source, temporary)
        if target.is_dir():
            target.replace(old)  # a folder that is not empty cannot be replaced in one step
        temporary.replace(target)
    finally:
        _remove(temporary)
        _remove(old)


def _stored(root: Path, path: Path) -> bool:
    """Whether a path below the root is a plain file, and no part of it below the root a link."""
    parts = [path, *path.parents]
    below = parts[: parts.index(root)]
    return path.is_file() and not any(part.is_symlink() for part in below)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
