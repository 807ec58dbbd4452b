"""The recorded table on disk.

While it is recorded, a task has a folder of its own: `task.json`, written once, and `cells.jsonl`, to which each
cell is appended whole (`accelerated.jsonl`: those that another device trained; `times.jsonl`: their seconds here). What the repository keeps of it is one file, `recorded/TASK.json.gz`, which is written
whole and read whole: gzip's own length and checksum tell of one that was cut short.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from automl_transfer.domain.strategy import SPACE_VERSION, Strategy
from automl_transfer.files import Timeout, locked

SCHEMA = "automl-transfer/table/1"
HERE = Path(__file__).resolve().parent
RECORDED, DATA = HERE / "recorded", HERE / "data"

CELLS, ACCELERATED, TIMES = "cells.jsonl", "accelerated.jsonl", "times.jsonl"
"""While recording: what the processor trained, what an accelerator did, and how long the former takes for that."""

YARDSTICK = 40.0
"""CPU milliseconds of the fixed step, about as when the first cells were recorded, beside much other work."""

Made = TypeVar("Made")
Key = tuple[str, int]
"""A strategy's key and a seed."""


class TableError(Exception):
    """A file of the table cannot be used."""


@dataclass(frozen=True)
class Cell:
    """One training of one strategy on one task.

    Attributes:
        name: What the list called the strategy.
        strategy: Its values.
        prepared: CPU seconds until its first epoch: building the network, solving the head.
        seconds: CPU seconds of one thread of each epoch, training and validation.
        validation, nll, test: After each epoch; one value where nothing is trained.
        failed: Why it ended early; empty where it did not.
        yardstick: CPU milliseconds that a fixed step took right after it; 0 where nobody measured.
        device: The accelerator that trained it; empty where that was the processor.
    """

    name: str
    seed: int
    strategy: Strategy
    prepared: float
    seconds: tuple[float, ...]
    validation: tuple[float, ...]
    nll: tuple[float, ...]
    test: tuple[float, ...]
    failed: str = ""
    yardstick: float = 0.0
    device: str = ""

    @cached_property
    def key(self) -> Key:
        """What identifies it on its task."""
        return self.strategy.key(), self.seed

    @property
    def spent(self) -> float:
        """CPU seconds of the whole training."""
        return self.prepared + math.fsum(self.seconds)

    def steady(self) -> Cell:
        """The same with the seconds that it would have had where the fixed step takes `YARDSTICK`."""
        if not self.yardstick:
            return self
        factor = YARDSTICK / self.yardstick
        seconds = tuple(round(factor * each, 3) for each in self.seconds)
        return dataclasses.replace(self, prepared=round(factor * self.prepared, 3), seconds=seconds)

    def document(self) -> dict[str, Any]:
        """As it is written; of the strategy what differs from the defaults."""
        from strategies import told

        plain = {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__}
        return {**plain, "strategy": told(self.strategy)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Cell:
        """What `document` wrote."""
        curves = {name: tuple(document[name]) for name in ("seconds", "validation", "nll", "test")}
        lengths = {len(curve) for curve in curves.values()}
        if len(lengths) != 1:
            raise ValueError(f"curves must have one length, got {sorted(lengths)}")
        strategy = Strategy.model_validate(document["strategy"]).canonical()
        return cls(
            name=document["name"], seed=document["seed"], strategy=strategy, prepared=document["prepared"],
            failed=document.get("failed", ""), yardstick=document.get("yardstick", 0.0),
            device=document.get("device", ""), **curves,
        )  # fmt: skip


@dataclass(frozen=True)
class TaskTable:
    """A task's part of the table.

    Attributes:
        facts: Of the task, its first answers, their seconds, and the machine; see `record.py`.
        cells: In the order in which they were recorded.
    """

    name: str
    facts: Mapping[str, Any]
    cells: tuple[Cell, ...]

    @cached_property
    def answers(self) -> dict[str, Strategy]:
        """First answers by name, in the order in which a search tries them."""
        return {n: Strategy.model_validate(v).canonical() for n, v in self.facts["answers"].items()}


def pack(folder: Path, file: Path) -> TaskTable:
    """Make the repository's file of what has been recorded in a folder so far, each cell once."""
    facts = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    cells = {cell.key: cell for cell in (*merged(folder), *cells_of(folder / CELLS))}
    document = {
        **facts,
        "schema": SCHEMA,
        "space": SPACE_VERSION,
        "cells": [cell.document() for cell in cells.values()],
    }
    text = json.dumps(document, separators=(",", ":"))
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    # No name and no time: the same cells give the same bytes.
    part.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    part.replace(file)
    return read(file)


def read(file: Path) -> TaskTable:
    """A task's part of the table.

    Raises:
        TableError: The file was cut short, is damaged, or of another space or version; says which.
    """
    try:
        document = json.loads(gzip.decompress(file.read_bytes()))
    except FileNotFoundError:
        raise TableError(f"{file} must be there: record it with benchmarks/table/record.py") from None
    except (EOFError, OSError, zlib.error, ValueError) as error:
        raise TableError(
            f"{file} must be a whole gzip file of JSON, got one that was cut short or damaged ({error}): "
            "take it from the repository again, or pack it again with benchmarks/table/record.py --pack"
        ) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        got = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise TableError(f"the schema of {file} must be {SCHEMA}, got {got!r}")
    if not isinstance(space := document.get("space"), int) or space > SPACE_VERSION:
        raise TableError(
            f"the strategies of {file} must be of a space that is known here (version {SPACE_VERSION}), got "
            f"{space!r}: read it with the program that recorded it"
        )
    try:
        cells = tuple(Cell.of(cell).steady() for cell in document["cells"])
        table = TaskTable(document["task"], document, cells)
        _ = table.answers
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(
            f"{file} must hold strategies and curves that can be read here, got {error}"
        ) from error
    return table


def read_all(folder: Path = RECORDED) -> dict[str, TaskTable]:
    """All tasks that are there, by name.

    Raises:
        TableError: See `read`; or there is none.
    """
    found = [read(file) for file in sorted(folder.glob("*.json.gz"))]
    if not found:
        raise TableError(f"{folder} must hold a recorded table, found none: record one with record.py")
    return {table.name: table for table in found}


def whole_lines(file: Path) -> list[str]:
    """The lines of a file that is appended to, without one that a killed process left unfinished."""
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


def append(file: Path, document: Mapping[str, Any]) -> None:
    """Append a line whole; what a killed process left unfinished goes first."""
    line = (json.dumps(document, separators=(",", ":")) + "\n").encode()
    with locked(file.with_suffix(".lock")), file.open("ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1 if size else 0)
        stream.seek(0, os.SEEK_END)
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def cells_of(file: Path) -> list[Cell]:
    """The cells of a file of lines."""
    return [Cell.of(json.loads(line)) for line in whole_lines(file)]


def keys_of(folder: Path) -> set[Key]:
    """What identifies a task's cells, whatever trained them."""
    return {cell.key for cell in (*cells_of(folder / CELLS), *accelerated(folder))}


def accelerated(folder: Path) -> list[Cell]:
    """A task's cells that an accelerator trained, with its seconds."""
    return cells_of(folder / ACCELERATED)


def times(folder: Path) -> dict[str, dict[str, Any]]:
    """What the processor took for strategies of theirs, by the strategy's key (`timing.py`)."""
    return {(line := json.loads(each))["key"]: line for each in whole_lines(folder / TIMES)}


def merged(folder: Path) -> list[Cell]:
    """Cells of an accelerator with seconds of the processor; those that nobody has timed are left out."""
    known = times(folder)
    found = []
    for cell in accelerated(folder):
        if (here := known.get(cell.strategy.key())) is None:
            continue
        seconds = [*here["seconds"], *[here["seconds"][-1]] * len(cell.seconds)][: len(cell.seconds)]
        clock = {"prepared": here["prepared"], "seconds": tuple(seconds), "yardstick": here["yardstick"]}
        found.append(dataclasses.replace(cell, **clock))
    return found


def claimed(claims: Path, name: str, is_there: Callable[[], bool], make: Callable[[], Made]) -> Made | None:
    """What is made, by one of several processes; None where it is there, or another process is at it."""
    if is_there():
        return None
    claims.mkdir(exist_ok=True)
    try:
        # The kernel's lock goes with the process that holds it.
        with locked(claims / f"{name}.lock", timeout=0):
            return None if is_there() else make()
    except Timeout:
        return None


def write_whole(file: Path, document: Any) -> None:
    """Write JSON under a temporary name, then rename it."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    part.replace(file)


def rounded(values: Iterable[float], digits: int) -> list[float]:
    """Short enough to store."""
    return [round(float(value), digits) for value in values]
