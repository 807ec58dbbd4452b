"""Lists of images that are left out or count less: what the data doctor writes, and `--exclude` takes.

    image,from,weight,reason,score
    cat/17.jpg,training,0,wrong label,0.97
    dog/3.jpg,everything,0,copy of a test image,1

An image is taken out of training alone (by default: what is judged stays as it was, so that scores compare),
or out of everything. With a weight between 0 and 1 it stays, and counts so much in training. Splits are made
before anything is left out: every other image stays in its own. A name that a spreadsheet would take for a
formula is written with a `'` before it, and may be given with or without.
"""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from automl_transfer.data.base import NoTaskError, Rows, some
from automl_transfer.data.table_file import FORMATS, read_table
from automl_transfer.data.weights import Weights
from automl_transfer.domain.task import SPLITS, Excluded, Split
from automl_transfer.errors import DataError, OutputError
from automl_transfer.files import whole_file
from automl_transfer.machine import path_of
from automl_transfer.printable import cell

Scope = Literal["training", "everything"]
COLUMNS = ("image", "from", "weight", "reason", "score")
LISTED = 5


@dataclass(frozen=True)
class Exclusion:
    """One line of a list.

    Attributes:
        image: Its name, as the dataset calls it.
        scope: What it is left out of.
        weight: How much it still counts in training, from 0 to below 1.
        reason, score: For people; nothing depends on them.
    """

    image: str
    scope: Scope = "training"
    weight: float = 0.0
    reason: str = ""
    score: float | None = None


@dataclass(frozen=True)
class Left:
    """A task's splits and weights after a list was applied; `out` are the rows in no split because of it."""

    indices: dict[Split, Rows]
    weights: Weights
    out: Rows
    summary: Excluded


def read_exclusions(name: str, data_root: Path | None = None) -> dict[str, Exclusion]:
    """The list of a file (.csv, .tsv, .jsonl, .parquet) by image; of several lines the strictest one counts.

    A relative name is looked for below `data_root`, then in the current directory.

    Raises:
        DataError: There is no such file, or a line says what cannot be: which line, and the rule.
    """
    path = path_of(name)
    places = [path] if path.is_absolute() or data_root is None else [data_root / path, path]
    found = None
    with suppress(OSError, ValueError):  # a name too long for a path, for instance
        found = next((place for place in places if place.is_file()), None)
    if found is None or found.suffix.lower() not in FORMATS:
        raise DataError(
            "a list of exclusions must be an existing .csv (or .tsv, .jsonl, .parquet) with a column image, "
            f"got {name!r}: 'automl-transfer explore DATASET --doctor -o FOLDER' writes one"
        )
    table = read_table(found)
    if "image" not in table.columns:
        raise DataError(
            f"a list of exclusions must have the column image, got {some(list(table.columns), 10)} in "
            f"{table.name!r}"
        )
    texts = {
        column: table.column(column) if column in table.columns else [""] * table.rows for column in COLUMNS
    }
    lines: list[Exclusion] = []
    mistakes: list[str] = []
    for at in range(table.rows):
        line = {column: texts[column][at].strip() for column in COLUMNS}
        try:
            lines.append(_exclusion(line))
        except ValueError as error:
            mistakes.append(f"row {at + 1}: {error}")
    if mistakes:
        more = f" and {len(mistakes) - LISTED} more" if len(mistakes) > LISTED else ""
        raise DataError(f"{table.name!r} cannot be used: {'; '.join(mistakes[:LISTED])}{more}")
    return strictest(lines)


def strictest(lines: Iterable[Exclusion]) -> dict[str, Exclusion]:
    """By image the line that takes most; of equal ones the first."""
    listed: dict[str, Exclusion] = {}
    for each in lines:
        before = listed.get(each.image)
        if before is None or _strictness(each) > _strictness(before):
            listed[each.image] = each
    return listed


def apply_exclusions(
    listed: Mapping[str, Exclusion],
    keys: Sequence[str],
    known: Collection[str],
    indices: Mapping[Split, Rows],
    weights: Weights | None,
) -> Left:
    """Leave out what a list says.

    Args:
        listed: By image.
        keys: The image of each row.
        known: Names that the dataset has beside them: files that are not used.
        indices: The splits, without any list.
        weights: How often each row counts in training; None: once.

    Raises:
        DataError: Images are listed that the dataset does not have.
        NoTaskError: Nothing is left to validate on.
    """
    row_of = {key: row for row, key in enumerate(keys)}
    listed = of_dataset(listed, row_of.keys() | set(known))
    counts = np.ones(len(keys)) if weights is None else weights.copy()
    gone = np.zeros(len(keys), np.bool_)
    for image, each in listed.items():
        if (row := row_of.get(image)) is not None:
            counts[row] *= each.weight
            gone[row] = each.scope == "everything"
    found = {split: indices[split][~gone[indices[split]]] for split in SPLITS}
    pool = np.concatenate([indices["train"], indices["validation"]])
    everywhere = np.concatenate([pool, indices["test"]])
    named = np.zeros(len(keys), np.bool_)
    named[[row_of[image] for image in listed if image in row_of]] = True
    if not len(found["validation"]):
        raise NoTaskError("validation images must be left after exclusions, got none: shorten the list")
    still = pool[named[pool] & ~gone[pool]]
    summary = Excluded(
        sha256=digest_of_list(listed.values()),
        training=int((counts[still] == 0.0).sum()),
        everything=int(gone[everywhere].sum()),
        weighted=int((counts[still] > 0.0).sum()),
    )
    out = everywhere[gone[everywhere]]
    trained = indices["train"]
    out = np.union1d(out, trained[named[trained] & (counts[trained] == 0.0)])
    return Left(found, counts, out, summary)


def of_dataset(listed: Mapping[str, Exclusion], known: Collection[str]) -> dict[str, Exclusion]:
    """A list by the names of a dataset's images, which it may give as `write_exclusions` writes them.

    Raises:
        DataError: It names images that the dataset does not have; says which.
    """
    name_of = {cell(name): name for name in known}
    found = strictest(replace(each, image=name_of.get(each.image, each.image)) for each in listed.values())
    strange = [image for image in found if image not in known]
    if strange:
        raise DataError(
            f"each image of a list of exclusions must be one of the dataset's, got {len(strange):,} of "
            f"{len(listed):,} that are not: {some(strange, LISTED)}: is it the list of another dataset?"
        )
    return found


def digest_of_list(listed: Iterable[Exclusion]) -> str:
    """Hex sha256 over what a list does, whatever the order of its lines and their reasons."""
    digest = hashlib.sha256()
    for each in sorted(listed, key=lambda each: each.image):
        digest.update(f"{each.image}\0{each.scope}\0{each.weight!r}\n".encode())
    return digest.hexdigest()


def write_exclusions(path: Path, listed: Iterable[Exclusion]) -> Path:
    """Write a list whole, for `--exclude`.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for each in listed:
                score = "" if each.score is None else f"{each.score:.4g}"
                writer.writerow(
                    [cell(each.image), each.scope, f"{each.weight:.4g}", cell(each.reason), score]
                )
    except (OSError, UnicodeEncodeError) as error:
        raise OutputError(f"the list must be writable, got {str(path)!r}: {error}") from error
    return path


def _exclusion(line: Mapping[str, str]) -> Exclusion:
    image = unicodedata.normalize("NFC", line["image"].replace("\\", "/").removeprefix("./"))
    if not image:
        raise ValueError("image must be a name, got nothing")
    scope = line["from"] or "training"
    if scope not in get_args(Scope):
        raise ValueError(f"from must be training or everything, got {scope[:40]!r}")
    try:
        weight = float(line["weight"].replace("_", "?") or 0.0)
    except ValueError:
        weight = float("nan")
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight must be a number from 0 to 1, got {line['weight'][:40]!r}")
    if scope == "everything" and weight:
        raise ValueError(f"weight must be 0 where an image is left out of everything, got {weight:g}")
    return Exclusion(image, "everything" if scope == "everything" else "training", weight, line["reason"])


def _strictness(each: Exclusion) -> tuple[bool, float]:
    return each.scope == "everything", -each.weight
