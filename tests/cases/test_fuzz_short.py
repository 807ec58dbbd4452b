"""A short look at random folders, tables and arrays; `make fuzz` takes ten minutes, with other examples each time."""

from __future__ import annotations

import warnings
from typing import Any

from fuzz_inputs import ARRAYS, FILES, FOLDER_OPTIONS, LINKS, REGULAR, TABLES, a_folder, a_table, an_array
from hypothesis import HealthCheck, given, settings

SHORT = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@SHORT
@given(FILES, REGULAR, LINKS, FOLDER_OPTIONS)
def test_folders(files: Any, regular: Any, links: Any, options: Any) -> None:
    a_folder(files, regular, links, options)


@SHORT
@given(TABLES)
def test_tables(made: Any) -> None:
    a_table(made)


@SHORT
@given(ARRAYS)
def test_arrays(made: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        an_array(made)
