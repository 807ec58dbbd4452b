"""Which column of a table is what: as stated, or guessed where only one answer is possible."""

from __future__ import annotations

import re
from dataclasses import dataclass

from automl_transfer.data.base import some
from automl_transfer.data.table_file import RawTable
from automl_transfer.domain.spec import TableColumns
from automl_transfer.errors import DataError

NAMES: dict[str, tuple[str, ...]] = {
    "file": (
        "file", "filename", "filepath", "image", "imagename", "imagefile", "imagefilename", "imagepath",
        "imageid", "img", "imgname", "imgfile", "imgpath", "imgid", "path", "picture", "photo",
    ),
    "label": (
        "label", "labels", "labelname", "class", "classname", "category", "categoryname", "target", "y",
    ),
    "split": ("split", "set", "subset", "partition"),
    "group": ("group", "groupid", "patient", "patientid", "subject", "subjectid"),
    "weight": ("weight", "sampleweight"),
}  # fmt: skip
"""Column names that are understood, in any case, with or without spaces, `-` and `_`."""

LAST = {"file": ("id",)}
"""Names that count where no other does."""

REQUIRED = ("file", "label")
HOW = (
    "say which with --columns file=COLUMN,label=COLUMN (task.columns in a study file, columns={...} in "
    "Python)"
)


@dataclass(frozen=True)
class Chosen:
    """The column of each role, and which roles were guessed."""

    file: str
    label: str
    split: str | None
    group: str | None
    weight: str | None
    guessed: tuple[str, ...]

    def sentence(self) -> str:
        """What was decided, for people."""
        parts = [f"files from column {self.file!r}", f"labels from {self.label!r}"]
        parts += [f"splits from {self.split!r}"] if self.split else []
        parts += [f"groups from {self.group!r}"] if self.group else []
        parts += [f"weights from {self.weight!r}"] if self.weight else []
        guess = f" ({', '.join(self.guessed)} guessed from the names; --columns ROLE=COLUMN says "
        guess += "otherwise, --columns ROLE= that there is none)"
        return ", ".join(parts) + (guess if self.guessed else "")


def choose(table: RawTable, stated: TableColumns) -> Chosen:
    """The columns of a table.

    Raises:
        DataError: A stated column is not there, or a needed one is missing or could be several.
    """
    found: dict[str, str | None] = {}
    for role in NAMES:
        column = getattr(stated, role)
        if column and column not in table.columns:
            raise DataError(
                f"the {role} column must be one of the table's, got {column!r}; {table.name!r} has "
                f"{some(table.columns)}"
            )
        if column is not None:
            found[role] = column or None
    taken = [column for column in found.values() if column]
    if len(set(taken)) < len(taken):
        raise DataError(f"each column can have one meaning, got {some(taken)} for {', '.join(found)}")
    guessed = []
    for role in NAMES:
        if role in found:
            continue
        fitting = _fitting(table.columns, role, taken)
        if len(fitting) > 1:
            leave = "" if role in REQUIRED else f", or leave it out with --columns {role}="
            raise DataError(
                f"the {role} column must be clear, got {some(fitting)} in {table.name!r} with the columns "
                f"{some(table.columns)}: {HOW.replace('file=COLUMN,label=COLUMN', f'{role}=COLUMN')}{leave}"
            )
        if fitting:
            found[role] = fitting[0]
            guessed.append(role)
    file, label = found.get("file"), found.get("label")
    if file is None or label is None:
        wanted = " and ".join(
            words
            for words, column in (("one of file names", file), ("one of labels", label))
            if column is None
        )
        hint = _one_hot(table, file) if label is None and file is not None else None
        raise DataError(
            f"a table of labels must have a column of file names and one of labels, got no clear {wanted} in "
            f"{table.name!r} with the columns {some(table.columns)}: {hint or HOW}"
        )
    return Chosen(file, label, found.get("split"), found.get("group"), found.get("weight"), tuple(guessed))


def _fitting(columns: tuple[str, ...], role: str, taken: list[str]) -> list[str]:
    for names in (NAMES[role], LAST.get(role, ())):
        fitting = [
            column
            for column in columns
            if column not in taken and re.sub(r"[\s_\-]+", "", column).casefold() in names
        ]
        if fitting:
            return fitting
    return []


def _one_hot(table: RawTable, file: str) -> str | None:
    """What to do about labels that are spread over columns of zeros and ones."""
    ones = [0] * table.rows
    hot: list[str] = []
    for column in table.columns:
        if column == file or not column or len(hot) > 1000:
            continue
        try:
            values = [text.strip() for text in table.column(column)]
        except DataError:
            continue
        if set(values) <= {"0", "1", "0.0", "1.0", "False", "True"}:
            hot.append(column)
            ones = [
                count + (value in ("1", "1.0", "True")) for count, value in zip(ones, values, strict=True)
            ]
    if len(hot) < 2 or set(ones) != {1}:
        return None
    return (
        f"the columns {some(hot, 5)} look one-hot (one 1 a row); make one column of them, in pandas "
        f"frame['label'] = frame[{hot[:2]!r}{' + [...]' if len(hot) > 2 else ''}].idxmax(axis=1)"
    )
