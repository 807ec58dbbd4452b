"""Reads a suite (TOML): several datasets, each with a study of its own, and what all of them share."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automl_transfer.domain.names import study_mistake
from automl_transfer.domain.spec import StudySpec
from automl_transfer.errors import ConfigurationError
from automl_transfer.space.study_file import checked_study, derived_name, preset_path, read_document

TABLES = ("task", "search", "space")
SHARED, OWN = ("name", "preset", *TABLES, "study"), ("dataset", "name", "preset", *TABLES)
MOST = 1_000
"""Studies of a suite."""


@dataclass(frozen=True)
class Suite:
    """Studies in the order in which they are searched.

    Attributes:
        name: Of the suite, and of its folder.
    """

    name: str
    studies: tuple[StudySpec, ...]


def read_suite(path: Path, overrides: Iterable[str] = (), data_root: Path | None = None) -> Suite:
    """Read and validate a suite.

        name = "photos"
        preset = "quick"            # of every study; also a study's own
        [search]                    # over the preset, for every study; so [task] and [space]
        minutes = 5
        [[study]]
        dataset = "photos/cats"
        [[study]]
        dataset = "photos/birds"
        search.minutes = 10         # over all that

    Args:
        path: The TOML file.
        overrides: `key=value` texts, over everything, for every study.
        data_root: Where relative dataset folders lie.

    Raises:
        ConfigurationError: Every mistake of every study, each with its study and key.
    """
    _, document = read_document(path)
    mistakes = _unknown(document, SHARED)
    name, entries = document.get("name", path.stem), document.get("study", [])
    wrong = "must be a text" if not isinstance(name, str) else study_mistake(name)
    if wrong is not None:
        mistakes.append(f"name: {wrong}")
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries) or not entries:
        mistakes.append("study: must have at least one table [[study]] with a dataset, got none")
        entries = []
    if len(entries) > MOST:
        raise ConfigurationError(
            f"study: there must be at most {MOST:,} studies, got {len(entries):,}", str(path)
        )
    studies, overrides = [], tuple(overrides)
    for number, entry in enumerate(entries, start=1):
        try:
            studies.append(_study(document, entry, overrides, data_root))
        except ConfigurationError as error:
            dataset = entry.get("dataset", "")
            called = f" ({dataset})" if isinstance(dataset, str) and dataset else ""
            mistakes += [f"study {number}{called}: {mistake}" for mistake in error.mistakes]
    names = [spec.name for spec in studies]
    for twice in sorted({each for each in names if names.count(each) > 1}):
        mistakes.append(f"study: names must differ, got {twice!r} twice: give one of them a name = ...")
    if mistakes:
        raise ConfigurationError(mistakes, str(path))
    return Suite(name, tuple(studies))


def _unknown(document: Mapping[str, Any], known: tuple[str, ...]) -> list[str]:
    return [f"{key}: unknown key: must be one of {', '.join(known)}" for key in document if key not in known]


def _study(
    shared: Mapping[str, Any], entry: Mapping[str, Any], overrides: tuple[str, ...], data_root: Path | None
) -> StudySpec:
    """One study: its preset, what the suite says of all, what it says itself, and what was given."""
    mistakes = _unknown(entry, OWN)
    dataset = entry.get("dataset")
    if not isinstance(dataset, str) or not dataset:
        mistakes.append(f"dataset: must be a name, a folder or a file, got {dataset!r}")
    preset = entry.get("preset", shared.get("preset", "quick"))
    if not isinstance(preset, str):
        mistakes.append(f"preset: must be a text, got {preset!r}")
    if mistakes:
        raise ConfigurationError(mistakes)
    _, document = read_document(preset_path(str(preset)))
    document.pop("task", None)  # the preset's own dataset
    for said in (shared, entry):
        for table in TABLES:
            part = said.get(table, {})
            if not isinstance(part, dict):
                raise ConfigurationError(f"{table}: must be a table, got {part!r}")
            document[table] = _over(document.get(table, {}), part)
    document["name"] = entry.get("name", derived_name(str(dataset), str(preset), data_root))
    return checked_study(document, overrides, {"task__dataset": dataset})


def _over(table: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """A table with what `part` says instead, key by key in the tables within it, too; neither changes."""
    found = copy.deepcopy({**table, **part})
    for key in table.keys() & part.keys():
        if isinstance(table[key], dict) and isinstance(part[key], dict):
            found[key] = _over(table[key], part[key])
    return found
