"""The images below a folder, and everything below it that is none: counted, not named."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from automl_transfer.data.decode import SUFFIXES

NO_SUFFIX, HIDDEN, SPECIAL = "no suffix", "hidden", "no file"


@dataclass
class Listing:
    """What is below a folder.

    Attributes:
        images: Files that have an image's suffix, sorted; links to nothing are among them.
        left_out: How many files there are of every other kind, by suffix (in lower case).
        unreadable: Folders that could not be listed, with the reason.
    """

    images: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def list_images(folder: Path) -> Listing:
    """List a folder and all below it; links to folders are followed, each real folder once."""
    found = Listing()
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            stat = current.stat()
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            with os.scandir(current) as entries:
                paths = [Path(entry.path) for entry in entries]
        except OSError as error:
            found.unreadable.append((current, error.strerror or str(error)))
            continue
        for path in paths:
            kind = _kind(path)
            if kind is None:
                waiting.append(path)
            elif kind in SUFFIXES:
                found.images.append(path)
            else:
                found.left_out[kind] += 1
    found.images.sort(key=lambda path: path.relative_to(folder).parts)
    found.unreadable.sort()
    return found


def words(left_out: Counter[str]) -> str:
    """What was left out, the most frequent first.

    >>> words(Counter({".heic": 12, "no suffix": 3}))
    '12 .heic, 3 no suffix'
    """
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{count} {kind}" for kind, count in ordered[:8])
    return shown + (f" and {len(ordered) - 8} other kinds" if len(ordered) > 8 else "")


def _kind(path: Path) -> str | None:
    """A suffix or a word; None for a folder to look into."""
    hidden = path.name.startswith(".") or path.name == "__MACOSX"
    try:
        if path.is_dir():
            return HIDDEN if hidden else None
        regular = path.is_file() or not path.exists()
    except OSError:  # it cannot be asked: then reading it says why
        regular = True
    if hidden:
        return HIDDEN
    return (path.suffix.lower() or NO_SUFFIX) if regular else SPECIAL
