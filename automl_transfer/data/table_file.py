"""Tables as they lie on disk or in memory: CSV, TSV, Parquet, JSON lines, data frames.

Every cell becomes a text: missing values an empty one, whole numbers as they are written. Nothing is
guessed about encodings: a file is UTF-8 (with or without a byte-order mark), or UTF-16 with one.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from automl_transfer.data.base import some
from automl_transfer.data.decode import SUFFIXES as IMAGE_SUFFIXES
from automl_transfer.errors import DataError

MAX_BYTES = 1 << 30
MAX_COLUMNS = 10_000
MAX_CELL = 10_000
MOST_OF_HEADER = 100_000
"""Characters of a header by which its delimiter is guessed: where a mark cuts nothing, they are one cell."""
"""Characters of a name or a label: more is another kind of data."""

_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class RawTable:
    """Columns by name, read when asked for.

    Attributes:
        name: What errors call it: a base name, no path.
        rows: Their number.
        column: The texts of one column, from the first row on.
    """

    name: str
    columns: tuple[str, ...]
    rows: int
    column: Callable[[str], list[str]]


def read_table(path: Path) -> RawTable:
    """Open a table; which kind it is says its suffix.

    Raises:
        DataError: It cannot be read, its rows do not fit its header, or it has none.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"a table must have at most {MAX_BYTES:,} bytes, got {size:,} in {path.name!r}")
        table = FORMATS[path.suffix.lower()](path)
    except OSError as error:
        raise DataError(f"a table must be readable, got {path.name!r}: {error.strerror or error}") from error
    except (MemoryError, RecursionError) as error:
        raise DataError(f"a table must be readable, got {path.name!r}: {type(error).__name__}") from error
    if len(table.columns) > MAX_COLUMNS:
        raise DataError(
            f"a table must have at most {MAX_COLUMNS:,} columns, got {len(table.columns):,} in {path.name!r}"
        )
    if table.rows == 0:
        raise DataError(f"a table must have a row for each image, got none in {path.name!r}")
    return table


def _csv(path: Path) -> RawTable:
    return _parse(path, None)


def _tsv(path: Path) -> RawTable:
    return _parse(path, "\t")


def _parse(path: Path, delimiter: str | None) -> RawTable:
    text = _text(path)
    first, _, rest = text.partition("\n")
    if first.rstrip("\r").lower().startswith("sep=") and len(first.rstrip("\r")) == 5:  # of spreadsheets
        delimiter, text = first[4], rest
    reader = csv.reader(io.StringIO(text), delimiter=delimiter or _delimiter(text), strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                _check_header(header, path.name)
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"each row of {path.name!r} must have {len(header)} cells as its header has, got "
                    f"{len(cells)} in line {reader.line_num}: put cells that hold the delimiter into quotes"
                )
            rows.append(cells)
    except csv.Error as error:
        raise DataError(
            f"a table must be well-formed, got {path.name!r}, line {reader.line_num}: {error}: save it as "
            "CSV again, a row a line"
        ) from None
    if not header:
        raise DataError(f"a table must have a header and rows, got nothing in {path.name!r}")
    place = {name: number for number, name in enumerate(header)}
    return RawTable(
        path.name,
        tuple(header),
        len(rows),
        lambda name: [_bounded(row[place[name]], path.name) for row in rows],
    )


def _text(path: Path) -> str:
    raw = path.read_bytes()
    encoding = "utf-8-sig"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"a table must be UTF-8 text, got the byte {raw[error.start]:#04x} in line {line} of "
            f"{path.name!r}: save it as UTF-8 (in spreadsheets: CSV UTF-8)"
        ) from None
    if "\0" in text:
        raise DataError(f"a table must be text, got a null character in {path.name!r}")
    return text


def _delimiter(text: str) -> str:
    """The one that cuts the header into the most cells; a comma where none does."""
    for line in text.splitlines():
        if line.strip():
            begin = line[:MOST_OF_HEADER]
            cells = {mark: len(next(csv.reader([begin], delimiter=mark))) for mark in _DELIMITERS}
            return max(_DELIMITERS, key=lambda mark: cells[mark])
    return ","


def _check_header(header: Sequence[str], name: str) -> None:
    if any(Path(cell).suffix.lower() in IMAGE_SUFFIXES for cell in header):
        raise DataError(
            f"the first row of a table must name its columns, got {some(list(header), 5)} in {name!r}: "
            "put a row such as file,label before it"
        )
    named = [cell for cell in header if cell]
    double = sorted({cell for cell in named if named.count(cell) > 1}) if len(set(named)) < len(named) else []
    if double:
        raise DataError(f"columns must have different names, got {some(double, 5)} twice in {name!r}")


def _json_lines(path: Path) -> RawTable:
    rows: list[dict[str, Any]] = []
    columns: dict[str, None] = {}
    # Not splitlines(): that also cuts at characters that may stand within a JSON text.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"each line of {path.name!r} must be a JSON object, got line {number}: {error}"
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f"each line of {path.name!r} must be a JSON object, got {type(row).__name__} in line {number}"
            )
        columns.update(dict.fromkeys(row))
        rows.append(row)
    return RawTable(
        path.name,
        tuple(columns),
        len(rows),
        lambda name: texts([row.get(name) for row in rows], name, path.name),
    )


def _parquet(path: Path) -> RawTable:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(
            f"reading {path.name!r} needs pyarrow, which is not installed: "
            "pip install 'automl-transfer[tables]', or save the table as CSV"
        ) from None
    try:
        file = parquet.ParquetFile(path)
        columns = tuple(str(name) for name in file.schema_arrow.names)
        rows = int(file.metadata.num_rows)
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataError(f"a Parquet file must be whole, got {path.name!r}: {error}") from error
    _check_header(columns, path.name)

    def column(name: str) -> list[str]:
        kind = file.schema_arrow.field(name).type
        if (
            pyarrow.types.is_nested(kind)
            or pyarrow.types.is_binary(kind)
            or pyarrow.types.is_large_binary(kind)
        ):
            raise DataError(
                f"column {name!r} of {path.name!r} must hold texts or numbers, got {kind}: "
                "write images as files and name them in the table"
            )
        try:
            return texts(file.read(columns=[name]).column(0).to_pylist(), name, path.name)
        except (pyarrow.ArrowException, ValueError) as error:
            raise DataError(f"a Parquet file must be whole, got {path.name!r}: {error}") from error

    return RawTable(path.name, columns, rows, column)


FORMATS: dict[str, Callable[[Path], RawTable]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
"""Suffixes of tables, and who reads them."""


def is_frame(value: object) -> bool:
    """Whether this is a data frame of pandas, polars or the like; neither is imported for the answer."""
    return not isinstance(value, type) and hasattr(value, "columns") and hasattr(value, "to_dict")


def of_frame(frame: Any, name: str) -> RawTable:
    """A data frame as a table.

    Raises:
        DataError: Two columns have one name, or there is no row.
    """
    named = {str(column): column for column in frame.columns}
    if len(named) < len(list(frame.columns)):
        _check_header([str(column) for column in frame.columns], name)
    if len(frame) == 0:
        raise DataError("a data frame must have a row for each image, got none")
    return RawTable(
        name, tuple(named), len(frame), lambda column: texts(frame[named[column]].to_list(), column, name)
    )


def texts(values: Sequence[Any], column: str, table: str) -> list[str]:
    """Each value as a text; missing ones are empty."""
    return [_bounded(_as_text(value, column, table), table) for value in values]


def _as_text(value: Any, column: str, table: str) -> str:
    if isinstance(value, str):
        return value
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    # Arrays have a shape, and numpy's scalars an empty one.
    if isinstance(value, list | tuple | dict | set | bytes) or getattr(value, "shape", ()) != ():
        raise DataError(
            f"column {column!r} of {table!r} must hold one value a row, got {type(value).__name__}: "
            "several labels an image are out of scope"
        )
    if isinstance(value, float) and value != value:  # NaN
        return ""
    return fspath(value) if isinstance(value, PathLike) else str(value)


def _bounded(text: str, table: str) -> str:
    if len(text) > MAX_CELL:
        raise DataError(f"a cell must have at most {MAX_CELL:,} characters, got {len(text):,} in {table!r}")
    return text
