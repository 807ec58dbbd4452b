"""Data frames as datasets: written as a table that worker processes can read, too."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol, cast

from automl_transfer.data.registry import open_dataset
from automl_transfer.data.table_columns import choose
from automl_transfer.data.table_file import is_frame, of_frame
from automl_transfer.domain.spec import TableColumns, TaskSpec
from automl_transfer.domain.strict_json import validate
from automl_transfer.errors import ConfigurationError, DataError
from automl_transfer.files import kind_at
from automl_transfer.machine import RUNS, path_of
from automl_transfer.recipes.output import write_text

TABLES = RUNS / "tables"
"""Where the tables of searches lie, each below a digest of its content."""

Settings = dict[str, Any]
"""Fields of a `TaskSpec`."""


class Frame(Protocol):
    """A data frame of pandas, polars or the like: columns by name, each with `to_list`."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""

    def to_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Never called: by this method a frame is told from other things."""

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, column: Any) -> Any:
        """One column."""


def kept(frame: Frame, images: str | PathLike[str] | None, columns: Mapping[str, str] | None) -> Settings:
    """Write the frame below `runs/tables/`, for this process and for workers; the same frame, the same file.

    Args:
        frame: A row for each image.
        images: The folder that its file names are relative to. None: the folder that all have in common
            where they are absolute, else the current directory.
        columns: Which column is file, label, split, group, weight; None guesses as for any table.

    Raises:
        DataError: The frame cannot be used as a table, or none of its images is there; nothing is written.
        OutputError: The file cannot be written.
    """
    with passing(frame, images, columns) as settings:
        source = Path(settings["dataset"])
        open_dataset(validate(TaskSpec, settings, "the task"))
        text = source.read_text(encoding="utf-8")
    folder = TABLES.resolve() / hashlib.sha256(text.encode()).hexdigest()[:16]
    target = folder / source.name
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(target, text)
    return settings | {"dataset": str(target)}


@contextmanager
def passing(
    frame: Frame, images: str | PathLike[str] | None, columns: Mapping[str, str] | None
) -> Iterator[Settings]:
    """The same as a file that is gone when the block ends: for what this process alone reads."""
    table = of_frame(frame, "the data frame")
    stated = validate(TableColumns, dict(columns or {}), "columns")
    chosen = choose(table, stated)
    files = [text.strip() for text in table.column(chosen.file)]
    root = path_of(images) if images is not None else _common(files)
    if kind_at(root, "the folder of images", DataError) != "folder":
        raise DataError(f"images must be an existing folder, got {str(root)!r}")
    root = root.resolve()
    written = {chosen.file: [_relative(file, root) for file in files]}
    for column in (chosen.label, chosen.split, chosen.group, chosen.weight):
        if column is not None:
            written[column] = table.column(column)
    lines = [
        json.dumps(dict(zip(written, row, strict=True)), ensure_ascii=True)
        for row in zip(*written.values(), strict=True)
    ]
    roles = {
        "file": chosen.file,
        "label": chosen.label,
        "split": chosen.split or "",
        "group": chosen.group or "",
        "weight": chosen.weight or "",
    }
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / f"{root.name or 'frame'}.jsonl"
        write_text(path, "\n".join(lines) + "\n")
        yield {"dataset": str(path), "images": str(root), "columns": roles}


@contextmanager
def stated(
    dataset: str | PathLike[str] | TaskSpec | Frame,
    images: str | PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Settings]:
    """Fields of a `TaskSpec` for a dataset, however it is given; a frame's file is there within the block.

    Raises:
        ConfigurationError: A task and what it states itself are given.
        DataError: The frame cannot be used as a table.
    """
    if isinstance(dataset, TaskSpec):
        if images is not None or columns is not None:
            raise ConfigurationError("a task states images and columns itself: set them in the TaskSpec")
        yield dataset.model_dump()
    elif is_frame(dataset):
        with passing(cast(Frame, dataset), images, columns) as table:
            yield table
    else:
        named = fspath(cast("str | PathLike[str]", dataset))
        folder = None if images is None else fspath(images)
        yield {"dataset": named, "images": folder, "columns": dict(columns or {})}


def _common(files: list[str]) -> Path:
    absolute = [file for file in files if file]
    if absolute and all(Path(file).is_absolute() for file in absolute):
        return Path(os.path.commonpath([Path(file).parent for file in absolute]))
    return Path()


def _relative(file: str, root: Path) -> str:
    """The name below the images, so that the same frame is the same data wherever they lie."""
    path = Path(file)
    if not path.is_absolute():
        return file
    for place in (path, path.parent.resolve() / path.name):
        if place.is_relative_to(root):
            return place.relative_to(root).as_posix()
    return file
