"""Which images belong together (one patient, one object), from file names or a table."""

from __future__ import annotations

import csv
import re
import unicodedata
from pathlib import Path

from automl_transfer.data.base import some
from automl_transfer.domain.spec import names_table
from automl_transfer.errors import DataError
from automl_transfer.files import kind_at
from automl_transfer.machine import path_of
from automl_transfer.printable import cell


def read_groups(group_from: str, keys: tuple[str, ...], root: Path) -> tuple[str, ...]:
    """The group of each image.

    Args:
        group_from: A regular expression with one capture group, searched in the relative file name
            (`class/file.png`), or the path of a CSV with the columns `file` (relative name) and `group`.
            A relative CSV path is looked for below the current directory, then below `root`. A name that a
            spreadsheet would take for a formula may have a `'` before it.
        keys: Relative names of the images.
        root: The dataset's folder.

    Raises:
        DataError: The expression or table cannot be used, or leaves an image without a group.
    """
    if names_table(group_from):
        table = _table(group_from, root)
        table |= {key: table[written] for key in keys if (written := cell(key)) in table}
        missing = [key for key in keys if key not in table]
        if missing:
            raise DataError(
                f"group_from must name every image, got no row for {len(missing)} of {len(keys)} in "
                f"{Path(group_from).name!r}: {some(missing, 5)}"
            )
        return tuple(table[key] for key in keys)
    expression = one_group(group_from, "group_from", "a regular expression or a .csv")
    found = [expression.search(key) for key in keys]
    unmatched = [
        key for key, match in zip(keys, found, strict=True) if match is None or match.group(1) is None
    ]
    if unmatched:
        raise DataError(
            f"group_from must match every image, got no match of {group_from!r} for {len(unmatched)} of "
            f"{len(keys)}: {some(unmatched, 5)}"
        )
    return tuple(match.group(1) for match in found if match is not None)


def one_group(text: str, option: str, what: str) -> re.Pattern[str]:
    """A regular expression with one capture group.

    Raises:
        DataError: It is none.
    """
    try:
        expression = re.compile(text)
    except re.error as error:
        raise DataError(f"{option} must be {what}, got {text!r}: {error}") from error
    if expression.groups != 1:
        raise DataError(
            f"{option} must have exactly one capture group (...), got {expression.groups} in {text!r}"
        )
    return expression


def _table(name: str, root: Path) -> dict[str, str]:
    path = path_of(name)
    candidates = [path] if path.is_absolute() else [path, root / path]
    existing = [each for each in candidates if kind_at(each, "group_from", DataError) == "file"]
    if not existing:
        raise DataError(f"group_from must be an existing .csv, got {name!r}: there is no such file")
    groups: dict[str, str] = {}
    try:
        with existing[0].open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            if "file" not in columns or "group" not in columns:
                raise DataError(
                    f"the .csv of group_from must have the columns file and group, got {list(columns)}"
                )
            for row in reader:
                file, group = ((row[name] or "").strip() for name in ("file", "group"))
                if None in row:
                    raise DataError(
                        f"each row of {path.name!r} must have a cell a column, got {len(row[None])} too many "
                        f"in line {reader.line_num}: put a text with a comma into quotes"
                    )
                if not file or not group:
                    raise DataError(
                        f"each row of {path.name!r} must have a file and a group, "
                        f"got {file!r} and {group!r} in line {reader.line_num}"
                    )
                key = unicodedata.normalize("NFC", file.replace("\\", "/").removeprefix("./"))
                group = unicodedata.normalize("NFC", group)
                if groups.setdefault(key, group) != group:
                    raise DataError(
                        f"an image must be in one group, got {groups[key]!r} and {group!r} for {key!r}"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"group_from must be a readable UTF-8 .csv, got {path.name!r}: {error}") from error
    return groups
