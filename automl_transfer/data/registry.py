"""Names of datasets, and how a dataset is written: `NAME?option=value&...`, or what lies at a path or URL.

A registered name comes before a folder of the same name (write `./digits` for the folder). A new
dataset is one file and one line in `KINDS` (by its name) or `FOUND` (by what lies at a path), or a plugin of
another package in the group `datasets` or `found`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from automl_transfer import plugins
from automl_transfer.data.base import DatasetKind, Inventory, Request
from automl_transfer.data.digits import Digits
from automl_transfer.data.far import Far, is_far, mirrored
from automl_transfer.data.folder import Folder
from automl_transfer.data.mnist5k import Mnist5k
from automl_transfer.data.npz import Npz
from automl_transfer.data.shards import Shards
from automl_transfer.data.table import Table
from automl_transfer.data.table_file import FORMATS as TABLES
from automl_transfer.data.textures import Textures
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.domain.spec import TableColumns, TaskSpec
from automl_transfer.errors import ConfigurationError, DataError
from automl_transfer.machine import path_of

logger = logging.getLogger(__name__)

KINDS: dict[str, DatasetKind] = {
    "digits": Digits(),
    "mnist5k": Mnist5k(),
    "textures": Textures(),
}
FOUND: dict[str, DatasetKind] = {"table": Table(), "npz": Npz(), "shards": Shards()}
"""Kinds that are found by what lies at a path; those of other packages come after, folders of images last."""

_HERE = Far()

COMMON_OPTIONS: Mapping[str, str] = {
    "per_class": "images a class in the training split, and at most as many in the validation split",
}
"""Options that every dataset has, folders and `.npz` files too."""


@dataclass(frozen=True)
class Opened:
    """An inventory, its name with all options, the options that do not depend on its kind, and notes."""

    inventory: Inventory
    name: str
    per_class: int | None
    notes: tuple[str, ...] = ()


def open_dataset(
    spec: TaskSpec,
    data_root: Path | None = None,
    expected: PixelRange | None = None,
    far: Far = _HERE,
) -> Opened:
    """Find and list a dataset.

    A relative folder or file is looked for below `data_root`, then below the current directory. `expected` is
    the range of the model that will see the images. `far` says where copies of far datasets are kept.

    Raises:
        DataError: There is no such dataset, or an option is unknown or out of range.
    """
    name, location, options = parse(spec.dataset, data_root, far)
    kind = get_kind(name) if location is None else _kind_at(location)
    known = {**kind.options, **COMMON_OPTIONS}
    unknown = [option for option in options if option not in known]
    if unknown:
        described = "; ".join(f"{option}: {text}" for option, text in known.items())
        raise DataError(
            f"dataset {name} has no option {', '.join(map(repr, unknown))}; its options are {described}"
        )
    if spec.group_from is not None and not isinstance(kind, Folder | Table):
        raise DataError(
            f"group_from works with folders and tables of images, got {spec.group_from!r} for {name}"
        )
    for option in ("classes_from", "split_from"):
        value = getattr(spec, option)
        if value is not None and not isinstance(kind, Folder):
            raise DataError(f"{option} works with folders of images, got {value!r} for {name}")
    if not isinstance(kind, Table) and (spec.images is not None or spec.columns != TableColumns()):
        what = f"images {spec.images!r}" if spec.images is not None else "columns"
        raise DataError(
            f"images and columns work with a table of labels, got {what} for {name}: leave them out"
        )
    per_class = _per_class(options)
    own = {option: value for option, value in options.items() if option not in COMMON_OPTIONS}
    inventory = kind.open(Request(_with_images(spec, far), location, own, data_root))
    for each in (inventory, inventory.unlabelled):
        if each is not None:
            each.fit = spec.fit
            if spec.fit != "squash":
                each.signature = f"{each.signature} {spec.fit}"
    if expected is not None:
        inventory = inventory.expecting(expected)
    notes = _shadowed(name, data_root) if location is None else ()
    # Registered datasets name their own options themselves.
    named = {} if location is None else dict(own)
    if per_class is not None:
        named["per_class"] = str(per_class)
    joint = "&" if "?" in inventory.name else "?"
    said = "&".join(f"{option}={value}" for option, value in named.items())
    shown = f"{inventory.name}{joint}{said}" if said else inventory.name
    return Opened(inventory, shown, per_class, notes)


def _with_images(spec: TaskSpec, far: Far) -> TaskSpec:
    """Where a table's images are far, the same task with their copy here."""
    if spec.images is None or not is_far(spec.images):
        return spec
    return spec.model_copy(update={"images": str(mirrored(spec.images, far).resolve())})


def _shadowed(name: str, data_root: Path | None) -> tuple[str, ...]:
    """Said where a folder has the name of a dataset, which comes first."""
    for folder in (data_root / name if data_root is not None else None, Path(name)):
        if folder is not None and os.path.isdir(folder):  # noqa: PTH112 never raises
            return (f"{name!r} is the dataset of this name, not the folder here: name that one './{name}'",)
    return ()


def kinds() -> tuple[str, ...]:
    """Names of registered datasets: those built in, and those that plugins add."""
    return (*KINDS, *plugins.names("datasets", frozenset(KINDS)))


def get_kind(name: str) -> DatasetKind:
    """The registered dataset of this name.

    Raises:
        ConfigurationError: A plugin adds it, and is broken.
    """
    if name in KINDS:
        return KINDS[name]
    return _loaded("datasets", name)


def _loaded(group: Literal["datasets", "found"], name: str) -> DatasetKind:
    found = plugins.load(group, name, _is_kind, "a DatasetKind or a class of one")
    kind: DatasetKind = plugins.made(group, name, found) if isinstance(found, type) else found
    return kind


def _is_kind(found: object) -> bool:
    return isinstance(found, DatasetKind) or (isinstance(found, type) and issubclass(found, DatasetKind))


def parse(
    dataset: str, data_root: Path | None = None, far: Far = _HERE
) -> tuple[str, Path | None, dict[str, str]]:
    """Name, folder or file (None for registered names) and options of a dataset as it is written.

    Raises:
        DataError: There is no such dataset.
    """
    known = kinds()
    if is_far(dataset):
        url, mark, query = dataset.partition("?")
        found = mirrored(url, far)
        if found.is_file() and _finder(found) is None:
            raise _no_dataset_file(found)
        return _base_name(found), found, _options(dataset, query) if mark else {}
    location = None if dataset in known else _find(dataset, data_root)
    if location is not None:  # a path may contain a question mark
        return _base_name(location), location, {}
    name, mark, query = dataset.rpartition("?") if "?" in dataset else (dataset, "", "")
    options = _options(dataset, query) if mark else {}
    if name in known:
        return name, None, options
    location = _find(name, data_root)
    if location is None:
        raise DataError(
            f"a dataset must be one of {', '.join(sorted(known))}, a folder of images (one subfolder a "
            f"class), an .npz file or a table of labels, got {name!r}: "
            "there is no such name, folder or file"
            + (f" below {str(data_root)!r} or the current directory" if data_root is not None else "")
        )
    return _base_name(location), location, options


def _find(name: str, data_root: Path | None) -> Path | None:
    if not name or "\x00" in name:
        return None
    path = path_of(name)
    for candidate in (path,) if path.is_absolute() or data_root is None else (data_root / path, path):
        try:
            if candidate.is_dir():
                return candidate
            if candidate.is_file():
                if _finder(candidate) is not None:
                    return candidate
                raise _no_dataset_file(candidate)
        except OSError:  # a name too long for a path, for instance
            continue
    return None


def _no_dataset_file(path: Path) -> DataError:
    return DataError(
        f"a dataset file must be an .npz or a table of labels ({', '.join(TABLES)}), or a .tar of "
        f"WebDataset, got {path.name!r}: spreadsheets can save a table as CSV"
    )


def _kind_at(location: Path) -> DatasetKind:
    found = _finder(location)
    if found is None:  # it went away meanwhile
        raise DataError(f"a dataset must stay where it is, got nothing at {str(location)!r} any more")
    return found


def _finder(path: Path) -> DatasetKind | None:
    """The kind of what lies at a path; one of another package comes before folders of images."""
    candidates = chain(FOUND.values(), _found_by_plugins(path), (Folder(),))
    return next((kind for kind in candidates if kind.finds(path)), None)


def _found_by_plugins(path: Path) -> Iterator[DatasetKind]:
    """The kinds of other packages that take a path; one that is broken is warned of and left out."""
    for name in plugins.names("found", {*FOUND, "folder"}):
        try:
            kind = _loaded("found", name)
            if plugins.made("found", name, kind.finds, path):
                yield kind
        except ConfigurationError as error:
            logger.warning("a kind of datasets is left out: %s", error)


def _base_name(location: Path) -> str:
    return location.name or location.resolve().name or "folder"


def _options(dataset: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise DataError(
                f"options of a dataset must read name=value, joined by &, got {part!r} in {dataset!r}"
            )
        if name in options:
            raise DataError(f"an option may be given once, got {name!r} twice in {dataset!r}")
        options[name] = unquote(value)
    return options


def _per_class(options: Mapping[str, str]) -> int | None:
    text = options.get("per_class")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise DataError(f"per_class must be an integer >= 1, got {text!r}")
    return int(text)
