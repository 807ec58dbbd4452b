"""A weights file that is another one than at its first use is refused, until a person accepts it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from automl_transfer.cli.main import app
from automl_transfer.errors import SourceError
from automl_transfer.machine import state_folder
from automl_transfer.models.architectures import create_network
from automl_transfer.models.known import BOOK, unchanged
from automl_transfer.models.registry import get_source

NET = "timm/test_efficientnet"


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_changed_file_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    name = f"checkpoint/{NET}@{path}"
    state = dict(create_network(NET).state_dict())
    save_file(state, path)
    get_source(name).load(3)
    get_source(name).load(3)
    state["conv_stem.weight"] = state["conv_stem.weight"] + 1
    save_file(state, path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match=r"must be those of their first use .*sources --accept checkpoint/"):
        get_source(name).load(3)
    moved = path.rename(tmp_path / "elsewhere.safetensors")
    get_source(f"checkpoint/{NET}@{moved}").load(3)  # another file
    moved.rename(path)
    done = CliRunner().invoke(app, ["sources", "--accept", name])
    assert (done.exit_code, "from now on" in done.output) == (0, True)
    assert torch.isfinite(next(get_source(name).load(3).parameters())).all()


def test_what_is_known_otherwise_cannot_be_accepted() -> None:
    with pytest.raises(SourceError, match="must name a source whose weights file lies here"):
        CliRunner().invoke(app, ["sources", "--accept", "scratch"], catch_exceptions=False)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', "[" * 9000])
def test_a_damaged_record_is_said_and_nothing_is_loaded(text: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"x")
    unchanged(path, "a source")
    book = state_folder() / BOOK
    book.write_text(text)
    with pytest.raises(SourceError, match=r"record of the weights' sha256 must be whole, .*delete it"):
        unchanged(path, "a source")
    book.unlink()
    unchanged(path, "a source")
