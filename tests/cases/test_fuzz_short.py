"""A short look at random folders, tables and arrays; `make fuzz` takes ten minutes, with other examples each time."""

from __future__ import annotations

import warnings
from typing import Any

from fuzz_inputs import (
    ARRAYS,
    FILES,
    FOLDER_OPTIONS,
    LINKS,
    REGULAR,
    TABLES,
    TAME,
    a_folder,
    a_table,
    an_array,
)
from hypothesis import HealthCheck, given, settings

SHORT = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@SHORT
@given(TAME, FILES, REGULAR, LINKS, FOLDER_OPTIONS)
def test_folders(tame: bool, files: Any, regular: Any, links: Any, options: Any) -> None:
    a_folder(tame, files, regular, links, options)


@SHORT
@given(TAME, TABLES)
def test_tables(tame: bool, made: Any) -> None:
    a_table(tame, made)


@SHORT
@given(TAME, ARRAYS)
def test_arrays(tame: bool, made: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        an_array(tame, made)
