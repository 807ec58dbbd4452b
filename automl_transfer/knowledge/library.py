"""The knowledge on this machine: the file that ships with the program, and those that a user added."""

from __future__ import annotations

import functools
import hashlib
import logging
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from automl_transfer.errors import OutputError, UserError
from automl_transfer.files import whole_file
from automl_transfer.knowledge.document import Knowledge
from automl_transfer.knowledge.reading import Read, parse_knowledge, read_knowledge
from automl_transfer.machine import state_folder

SHIPPED = "shipped.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Added:
    """What an import did.

    Attributes:
        new: False where the same knowledge was there already.
    """

    read: Read
    place: Path
    new: bool


@functools.cache
def shipped() -> Knowledge:
    """The file that the project made from its own recorded table (`benchmarks/table/knowledge.py`)."""
    file = resources.files("automl_transfer.knowledge") / SHIPPED
    return parse_knowledge(file.read_text(encoding="utf-8"), SHIPPED).knowledge


def folder() -> Path:
    """Where a user's own files of knowledge are."""
    return state_folder() / "knowledge"


def imported() -> list[tuple[Path, Knowledge]]:
    """The files that were added, by name; one that cannot be read any more is left out, with a warning."""
    found = []
    for path in sorted(folder().glob("*.json")):
        try:
            found.append((path, read_knowledge(path).knowledge))
        except UserError as error:
            log.warning("the knowledge of %s is left out: %s", path, error)
    return found


def add(path: Path) -> Added:
    """Add a file to the user's own; the same one twice is one.

    Raises:
        ConfigurationError: It cannot be used, see `read_knowledge`; nothing was written.
        OutputError: The folder cannot be written.
    """
    read = read_knowledge(path)
    text = read.knowledge.to_json()
    place = folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if place.exists():
        return Added(read, place, new=False)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(place) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"the folder of knowledge must be writable, got {place.parent} ({error.strerror}): make it so, "
            "or set XDG_STATE_HOME to another one"
        ) from error
    return Added(read, place, new=True)
