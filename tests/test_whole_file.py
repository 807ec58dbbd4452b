"""A file is there whole or not at all (FINDINGS C15: one writer of whole files)."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl_transfer.files import whole_file


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
