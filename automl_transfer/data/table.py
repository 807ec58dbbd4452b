"""A table of labels: one row an image, with columns of file names and labels.

    file,label,split,group,weight   CSV (comma, semicolon or tab), TSV, JSON lines or Parquet
    a/1.jpg,cat,train,p01,2         names are relative to `images`, by default the table's own folder

Split, group and weight are optional. Every row is used or accounted for: what is missing, outside of the
folder, named twice with different labels or not readable is bad (`on_bad_image`); images without a label and
images that no row names are left out and counted; rows that repeat another count once, which is said.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from automl_transfer.data.base import BadImage, DatasetKind, Inventory, Request, Unused, capitals_only, some
from automl_transfer.data.groups import read_groups
from automl_transfer.data.image_files import RANGE, FileInventory, signature_of, spelt
from automl_transfer.data.scaling import asked_range
from automl_transfer.data.split_names import SPLIT_NAMES, split_of, twice
from automl_transfer.data.table_columns import Chosen, choose
from automl_transfer.data.table_file import FORMATS, RawTable, read_table
from automl_transfer.data.table_images import ImageFolder
from automl_transfer.data.weights import Weights, of_texts
from automl_transfer.domain.account import Reason
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import Split
from automl_transfer.errors import DataError
from automl_transfer.machine import path_of

NO_LABEL = frozenset({"", "nan"})
"""Labels that are none: an empty cell, and what numpy makes of one."""


@dataclass(frozen=True)
class _Row:
    label: str
    split: str
    group: str
    weight: float


@dataclass
class _Rows:
    """What the rows come to: images by key, and everything that is left out, counted.

    Attributes:
        bad: Why a name cannot be used.
        unlabelled: Names without a label.
        twins: Rows that say again what another one said.
    """

    images: dict[str, _Row] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    bad: dict[str, BadImage] = field(default_factory=dict)
    unlabelled: set[str] = field(default_factory=set)
    twins: int = 0

    def refuse(self, key: str, reason: str, kind: Reason = Reason.NO_FILE) -> None:
        """An image that was meant to be used and cannot be."""
        self.bad[key] = BadImage(key, reason, kind)


class Table(DatasetKind):
    """Any table of file names and labels."""

    options = RANGE

    def finds(self, path: Path) -> bool:
        """By what it is."""
        return path.suffix.lower() in FORMATS and path.is_file()

    def open(self, request: Request) -> Inventory:
        """Read the table, and look for its images.

        Raises:
            DataError: The table, its columns or its values cannot be used, or none of its images is there.
        """
        assert request.location is not None
        path, spec = request.location, request.spec
        pixels = asked_range(request.options)
        table = read_table(path)
        chosen = choose(table, spec.columns)
        root = _images(request)
        folder = ImageFolder(root)
        found = _rows(
            folder,
            files=table.column(chosen.file),
            labels=table.column(chosen.label),
            splits=table.column(chosen.split) if chosen.split else None,
            groups=table.column(chosen.group) if chosen.group else None,
            weights=_weights(table, chosen),
        )
        if not found.images:
            raise _nothing(found, folder, path.name, spec)
        keys = tuple(sorted(found.images))
        rows = [found.images[key] for key in keys]
        classes, numbers, changed = _classes([row.label for row in rows], chosen.label)
        return FileInventory(
            name=path.name,
            classes=classes,
            labels=numbers,
            keys=keys,
            asked=pixels,
            signature=signature_of(f"table {pixels}", root, [(key, found.files[key]) for key in keys]),
            groups=_groups(spec, chosen, keys, rows, root),
            weights=None if chosen.weight is None else np.array([row.weight for row in rows]),
            splits=None if chosen.split is None else _splits([row.split for row in rows], chosen.split),
            outside=tuple(found.bad[key] for key in sorted(found.bad)),
            left_out=_left_out(found, folder),
            notes=_notes(chosen, found, folder, classes, changed, path.name),
            files=tuple(found.files[key] for key in keys),
        )


def _images(request: Request) -> Path:
    """The folder that file names are relative to."""
    assert request.location is not None
    stated = request.spec.images
    if stated is None:
        return request.location.parent
    path = path_of(stated)
    places = [path] if path.is_absolute() else [Path(), request.location.parent]
    if request.data_root is not None and not path.is_absolute():
        places.insert(0, request.data_root)
    for place in places:
        try:
            if (place / path).is_dir():
                return place / path
        except (OSError, ValueError):  # too long for a path, a null character
            continue
    raise DataError(
        f"images must be an existing folder, got {stated!r}: give it relative to the current directory"
        f"{', to the data root' if request.data_root is not None else ''} or to the table"
    )


def _rows(
    folder: ImageFolder,
    *,
    files: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[str] | None,
    groups: Sequence[str] | None,
    weights: Weights | None,
) -> _Rows:
    found = _Rows()
    empty: list[str] = []
    for number, (file, label) in enumerate(zip(files, labels, strict=True)):
        row = _Row(
            unicodedata.normalize("NFC", label.strip()),
            splits[number].strip() if splits else "",
            unicodedata.normalize("NFC", groups[number].strip()) if groups else "",
            1.0 if weights is None else float(weights[number]),
        )
        image = folder.find(file) if file.strip() else "names no file"
        if row.label.casefold() in NO_LABEL:
            empty.append(f"row {number + 1}" if isinstance(image, str) else image[0])
            continue
        if isinstance(image, str):
            found.refuse(spelt(file.strip()[:500]) or f"row {number + 1}", image)
            continue
        key, path = image
        if key in found.bad:
            continue
        before = found.images.get(key)
        if before is None:
            found.images[key], found.files[key] = row, path
        elif before == row:
            found.twins += 1
        else:
            what = next(
                name
                for name in ("label", "split", "group", "weight")
                if getattr(before, name) != getattr(row, name)
            )
            both = f"{getattr(before, what)!r} and {getattr(row, what)!r}"
            found.refuse(key, f"must have one {what}, got {both} in different rows", Reason.CONTRADICTED)
            del found.images[key], found.files[key]
    named = found.images.keys() | found.bad.keys()
    found.unlabelled = set(empty) - named
    found.twins += len(empty) - len(found.unlabelled)
    return found


def _weights(table: RawTable, chosen: Chosen) -> Weights | None:
    """The weight of each row; rows without a label, which are not used, need none."""
    if chosen.weight is None:
        return None
    texts, labels = table.column(chosen.weight), table.column(chosen.label)
    used = [row for row, label in enumerate(labels) if label.strip().casefold() not in NO_LABEL]
    found = np.ones(len(texts))
    found[used] = of_texts([texts[row] for row in used], [row + 1 for row in used], chosen.weight, table.name)
    return found


def _nothing(found: _Rows, folder: ImageFolder, name: str, spec: TaskSpec) -> DataError:
    if not found.bad:
        return DataError(
            f"a table must have rows with a label, got {len(found.unlabelled):,} without one in {name!r}"
        )
    listed = "\n".join(f"  {key}: {found.bad[key].reason}" for key in sorted(found.bad)[:5])
    below = next((place for key in sorted(found.bad)[:100] if (place := folder.elsewhere(key))), None)
    hint = f" (perhaps {below.as_posix()}?)" if below else ""
    where = repr(spec.images) if spec.images else "the table's own folder"
    return DataError(
        f"a table's images must be there, got none of {len(found.bad)} that {name!r} names, looked for in "
        f"{where}: say with --images DIR (task.images in a study file) which folder its names are relative "
        f"to{hint}\n{listed}"
    )


def _classes(labels: list[str], column: str) -> tuple[tuple[str, ...], np.ndarray, str | None]:
    """Names, numbers, and what was changed; whole numbers are in the order of their values."""
    changed = None
    names = set(labels)
    if all(_is_number(name) for name in names):
        if any(float(name) != int(float(name)) for name in names):
            raise DataError(
                f"labels must be names or whole numbers, got {some(sorted(names), 5)} in column {column!r}: "
                "values to predict (regression) are out of scope; several labels an image, too"
            )
        if any("." in name for name in names):
            labels = [str(int(float(name))) for name in labels]
            changed = f"labels such as {min(names)!r} were read as whole numbers"
            names = set(labels)
    whole = all(_is_whole(name) for name in names)
    classes = tuple(sorted(names, key=int) if whole else sorted(names))
    place = {name: number for number, name in enumerate(classes)}
    return classes, np.array([place[label] for label in labels], np.int64), changed


def _is_whole(name: str) -> bool:
    """Whether this is how a whole number is written, so that 007 stays a name."""
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(name)) == name


def _is_number(name: str) -> bool:
    whole, point, rest = name.partition(".")
    return _is_whole(whole) and (not point or (rest.isascii() and rest.isdigit()))


def _splits(values: list[str], column: str) -> tuple[Split, ...]:
    counted = Counter(values)
    unknown = sorted(value for value in counted if split_of(value) is None)
    if unknown:
        listed = ", ".join(f"{value!r} ({counted[value]} rows)" for value in unknown[:5])
        raise DataError(
            f"each row's split must be one of {', '.join(SPLIT_NAMES)}, got {listed} in column {column!r}: "
            "rename them, or leave the column out with --columns split= and let the seed split"
        )
    double = twice(counted)
    if double:
        raise DataError(
            f"each split must have one name, got {'; '.join(some(names) for names in double.values())} in "
            f"column {column!r}: rename one, or leave the column out with --columns split="
        )
    found = {value: split_of(value) for value in counted}
    return tuple(split for value in values if (split := found[value]) is not None)


def _groups(
    spec: TaskSpec, chosen: Chosen, keys: tuple[str, ...], rows: list[_Row], root: Path
) -> tuple[str, ...] | None:
    if spec.group_from is not None:
        if spec.columns.group:
            raise DataError(
                f"groups must be stated once, got the column {spec.columns.group!r} and group_from "
                f"{spec.group_from!r}: leave one of them out"
            )
        return read_groups(spec.group_from, keys, root)
    if chosen.group is None:
        return None
    without = [key for key, row in zip(keys, rows, strict=True) if not row.group]
    if without:
        raise DataError(
            f"each row must have a group, got none for {len(without)} of {len(rows)} in column "
            f"{chosen.group!r}: {some(without, 5)}; fill them in, or leave the column out with "
            "--columns group="
        )
    return tuple(row.group for row in rows)


def _left_out(found: _Rows, folder: ImageFolder) -> tuple[Unused, ...]:
    unnamed = folder.unnamed([*found.images, *found.bad, *found.unlabelled])
    return (
        *(Unused(key, Reason.NO_LABEL) for key in sorted(found.unlabelled)),
        *(Unused(key, Reason.NOT_NAMED) for key in unnamed),
    )


def _notes(
    chosen: Chosen,
    found: _Rows,
    folder: ImageFolder,
    classes: tuple[str, ...],
    changed: str | None,
    name: str,
) -> tuple[str, ...]:
    notes = [f"{name}: {chosen.sentence()}"]
    if folder.completed:
        endings = ", ".join(f"{ending} ({count})" for ending, count in sorted(folder.completed.items()))
        notes.append(f"names without an ending were completed with the one file that fits: {endings}")
    if found.twins:
        notes.append(f"{found.twins:,} rows repeat another and count once")
    if changed:
        notes.append(changed)
    return (*notes, *capitals_only(classes))
