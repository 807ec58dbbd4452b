"""Finds the files that a table names, below one folder and nowhere else."""

from __future__ import annotations

import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from automl_transfer.data.base import some
from automl_transfer.data.decode import SUFFIXES
from automl_transfer.data.image_files import key_of, refuse_twins
from automl_transfer.data.walk import find_images


class ImageFolder:
    """The images below a folder, by the names that a table may give them.

    Attributes:
        completed: How many names without an ending were found with which.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._bases = {root.absolute().as_posix(), root.resolve().as_posix()}
        found = [(key_of(path, root), path) for path in find_images(root)]
        refuse_twins([key for key, _ in found])
        self._images = dict(found)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._folded: dict[str, str] = {}
        for key in self._images:
            self._by_stem[str(PurePosixPath(key).with_suffix(""))].append(key)
            self._folded[key.casefold()] = key
        self.completed: Counter[str] = Counter()
        self._checked: dict[str, tuple[str, Path] | str] = {}

    def find(self, name: str) -> tuple[str, Path] | str:
        """The key and path of the file that a table names so, or the reason why there is none."""
        if name not in self._checked:
            self._checked[name] = self._find(name.strip())
        return self._checked[name]

    def elsewhere(self, name: str) -> Path | None:
        """A folder below this one that has a file of the same base name; for a hint."""
        base = PurePosixPath(name.replace("\\", "/")).name
        for key in self._images:
            path = PurePosixPath(key)
            if base in (path.name, path.stem) and path.parent.name:
                return self._root / path.parent
        return None

    def unnamed(self, keys: Iterable[str]) -> list[str]:
        """The images of the folder that are not among these, sorted."""
        return sorted(self._images.keys() - set(keys))

    def _find(self, name: str) -> tuple[str, Path] | str:
        key = self._key(name)
        if key is None:
            return "lies outside the folder of images"
        if key in self._images:
            return key, self._images[key]
        if "://" in name:
            return "is an address, not a file below the folder of images"
        path = self._root / key
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            return self._completed(key)
        if stat.S_ISDIR(mode):
            return "is a folder, not an image"
        return (key, path) if stat.S_ISREG(mode) else "is no regular file"

    def _key(self, name: str) -> str | None:
        """The name relative to the folder, on every system the same; None where it leads out of it."""
        slashed = unicodedata.normalize("NFC", name.replace("\\", "/"))
        for base in self._bases:
            if slashed.startswith(f"{base}/"):
                slashed = slashed[len(base) + 1 :]
        if slashed.startswith("/") or slashed[1:3] == ":/":
            return None
        parts: list[str] = []
        for part in slashed.split("/"):
            if part == ".." and not parts:
                return None
            if part == "..":
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        return "/".join(parts)

    def _completed(self, key: str) -> tuple[str, Path] | str:
        if not key:
            return "names no file"
        fitting = [] if PurePosixPath(key).suffix.lower() in SUFFIXES else self._by_stem.get(key, [])
        if len(fitting) == 1:
            self.completed[PurePosixPath(fitting[0]).suffix] += 1
            return fitting[0], self._images[fitting[0]]
        if fitting:
            return f"could be {some(fitting, 3)}: name one of them"
        other = self._folded.get(key.casefold())
        return "there is no such file" + (f", but {other!r}" if other else "")
