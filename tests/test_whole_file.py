"""A file is there whole or not at all (FINDINGS C15: one writer of whole files)."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl_transfer.files import is_under_way, whole_file
from automl_transfer.recipes.output import check_output_folder


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 200 + ".json")
    with whole_file(path) as temporary:
        assert temporary.suffix == ".tmp"  # nobody takes it for one of its kind
        temporary.write_text("first")
    with pytest.raises(OSError, match="disk full"):
        _half(path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["first"]


def _half(path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")


def test_a_file_that_is_being_written_is_told_from_others(tmp_path: Path) -> None:
    """Two searches begin in one folder: the one sees what the other one writes at that moment."""
    with whole_file(tmp_path / "run.json") as temporary:
        assert is_under_way(temporary.name)
        temporary.write_text("{}")
        check_output_folder(tmp_path)
    assert not is_under_way("run.json")
    assert not is_under_way("notes.tmp")
