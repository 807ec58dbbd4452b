"""Files of a study, in a folder or in object storage: checkpoints and trained weights."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from automl_transfer.errors import OutputError


class Artifacts:
    """A place for files by key (`trial-000001/model-0/model.safetensors`), shared by all workers.

    A file appears whole or not at all: it is written under a temporary name and then renamed
    (object stores show an upload only when it is complete). Safe from many processes; the last
    writer of a key wins, and writers of one key write the same bytes.
    """

    def __init__(self, url: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(url)

    @property
    def local_folder(self) -> Path | None:
        """The folder, where the files are on this machine; None for object storage."""
        return Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def put(self, file: Path, key: str) -> None:
        """Store a file under a key.

        Raises:
            OutputError: It cannot be written (rights, space).
        """
        target = self._path(key)
        temporary = f"{target}.{os.getpid()}.tmp"
        try:
            self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            if self.local_folder is None:
                self._fs.put_file(str(file), target)
                return
            self._fs.put_file(str(file), temporary)
            Path(temporary).replace(target)
        except OSError as error:
            if self.local_folder is not None:
                Path(temporary).unlink(missing_ok=True)
            raise OutputError(
                f"the artifact store must take files, got {type(error).__name__} for {key}: {error.strerror}"
            ) from error

    def get(self, key: str, file: Path) -> None:
        """Bring the file of a key to this machine.

        Raises:
            FileNotFoundError: There is none.
        """
        self._fs.get_file(self._path(key), str(file))

    def exists(self, key: str) -> bool:
        """Whether a key has a file."""
        return bool(self._fs.exists(self._path(key)))

    def keys(self, prefix: str = "") -> list[str]:
        """All keys below a prefix (a folder), in order."""
        folder = self._path(prefix).rstrip("/")
        if not self._fs.exists(folder):
            return []
        names = (str(name)[len(str(self._root).rstrip("/")) + 1 :] for name in self._fs.find(folder))
        return sorted(name for name in names if not name.endswith(".tmp"))

    def size(self, key: str) -> int:
        """Bytes of a key's file."""
        return int(self._fs.size(self._path(key)) or 0)

    def delete(self, key: str) -> None:
        """Remove a key's file; nothing happens when it is not there."""
        try:
            self._fs.rm_file(self._path(key))
        except FileNotFoundError:
            return
        folder = self.local_folder
        if folder is not None:
            parent = Path(self._path(key)).parent
            while parent != folder and folder in parent.parents and not any(parent.iterdir()):
                parent.rmdir()
                parent = parent.parent

    def _path(self, key: str) -> str:
        if ".." in key.split("/"):
            raise ValueError(f"a key must not leave the artifact store, got {key!r}")
        return f"{str(self._root).rstrip('/')}/{key}"
