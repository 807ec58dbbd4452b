"""Weights stay the file of their first use: its sha256 is written down then, and compared ever after."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from automl_transfer.errors import SourceError
from automl_transfer.files import Timeout, locked, read_own_json, whole_file
from automl_transfer.machine import state_folder
from automl_transfer.models.base import file_sha256

log = logging.getLogger(__name__)

BOOK = "weights.json"
MANY = 1000
"""Entries from which on those are dropped whose files are gone."""
PATIENCE = 10.0
"""Seconds to wait for another process that writes."""


def unchanged(path: Path, source: str) -> Path:
    """The path of a weights file, if its sha256 is what it was when this user's programs first read it.

    At the first use it is written down. Sources whose sha256 the program knows itself, or whose folder states
    it, need no such book.

    Raises:
        SourceError: The file is another one now, or the book is damaged.
    """
    digest, name = file_sha256(path), str(path.resolve())
    entry = _read().get(name)
    if entry is None:
        _write(name, digest)
        return path
    if entry["sha256"] != digest:
        raise SourceError(
            f"the weights of {source} must be those of their first use ({entry['since']}): {path} had the "
            f"sha256 {entry['sha256'][:16]}..., now it has {digest[:16]}...: if you changed the file, run "
            f"'automl-transfer sources --accept {source}', else fetch it again"
        )
    return path


def accept(path: Path) -> str:
    """From now on, the file is what it is now; its sha256.

    Raises:
        SourceError: The book is damaged.
        OSError: It cannot be written.
    """
    digest = file_sha256(path)
    _write(str(path.resolve()), digest, must=True)
    return digest


def _book() -> Path:
    return state_folder() / BOOK


def _read() -> dict[str, dict[str, str]]:
    path = _book()
    try:
        found: Any = read_own_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceError(_damaged(path, error)) from error
    whole = isinstance(found, dict) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("sha256", "since"))
        for entry in found.values()
    )
    if not whole:
        raise SourceError(_damaged(path, "it holds something else"))
    return dict(found)


def _write(name: str, digest: str, *, must: bool = False) -> None:
    path = _book()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f"{BOOK}.lock"), timeout=PATIENCE):
            entries = _read()
            if len(entries) >= MANY:
                entries = {key: entry for key, entry in entries.items() if os.path.exists(key)}  # noqa: PTH110
            entries[name] = {"sha256": digest, "since": time.strftime("%Y-%m-%d", time.gmtime())}
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(entries, indent=1, ensure_ascii=True), encoding="utf-8")
    except (OSError, Timeout) as error:
        if must:
            raise
        log.warning(
            "the sha256 of %s is not written down, so that a change would not be seen: %s", name, error
        )


def _damaged(path: Path, why: object) -> str:
    return (
        f"the record of the weights' sha256 must be whole, {path} is not ({why}): look at what "
        "happened to it, then delete it, and the weights that are here now count as known"
    )
