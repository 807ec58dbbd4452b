"""A short look at random folders, tables, arrays and texts; `make fuzz` takes ten minutes, with other examples each time."""

from __future__ import annotations

import warnings
from typing import Any

from fuzz_arrays import ARRAYS, an_array
from fuzz_folders import FILES, FOLDER_OPTIONS, LINKS, REGULAR, a_folder
from fuzz_judging import TAME
from fuzz_tables import TABLES, a_table
from fuzz_texts import TEXTS, a_text
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


@settings(SHORT, max_examples=300)
@given(TEXTS)
def test_texts(made: Any) -> None:
    a_text(made)
