"""What must hold for any text that a reader of ours is given: it is understood, or refused in one clear error."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_judging as judging
from hypothesis import strategies as st

from automl_transfer.domain.attack import Attack
from automl_transfer.domain.model_description import read_description
from automl_transfer.domain.stored_strategy import read_strategy as read_row
from automl_transfer.errors import TrialDataError, UnreadableRowError, UserError
from automl_transfer.models import known
from automl_transfer.recipes.best_strategy import read_recipe, read_strategy
from automl_transfer.redaction import redacted
from automl_transfer.space.study_file import preset_path, read_study
from automl_transfer.store.url import StoreURL
from automl_transfer.training.state import read_checkpoint

ROOT = Path(__file__).parents[2]
SECRET = "Zq7xYw5"
CLEAR = (UserError, TrialDataError, UnreadableRowError)
RECIPE = (ROOT / "tests" / "recipes" / "old" / "recipe-1.json").read_text(encoding="utf-8")
STUDY = preset_path("quick").read_text(encoding="utf-8")
MODEL = json.dumps(
    {
        "schema": "automl-transfer/model/1", "architecture": "timm/resnet18", "groups_kept": 3, "pool": 1, "taps": 1,
        "resolution_scale": 1.0, "in_channels": 3, "resolution": 32, "classes": ["a", "b"],
        "normalisation": {"kind": "fixed", "mean": [0.5], "std": [0.5]}, "weights_sha256": "0" * 64,
    }
)  # fmt: skip
STATE = json.dumps(
    {"identity": {}, "epoch": 1, "best": None, "optimizer": {}, "conditions": {}, "differences": []}
)
ROW = json.dumps({"space": 7, "set": {"truncation": 4, "learning_rate": 0.01}})
URLS = (
    f"postgresql://ann:{SECRET}@h:5432/d?sslmode=require",
    "sqlite:///a.db",
    f"host=h password={SECRET} dbname=d",
)


def _checkpoint(path: Path) -> None:
    (path.parent / "state.safetensors").write_bytes(b"")
    path.rename(path.parent / "state.json")
    read_checkpoint(path.parent, {})


def _description(path: Path) -> None:
    path.rename(path.parent / "model.json")
    read_description(path.parent)


def _url(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    assert f":{SECRET}@" not in str(StoreURL.parse(text))


def _book(path: Path) -> None:
    state = path.parent / "automl-transfer"
    os.environ["XDG_STATE_HOME"] = str(path.parent)
    state.mkdir()
    path.rename(state / known.BOOK)
    weights = path.parent / "weights"
    weights.write_bytes(b"x")
    known.unchanged(weights, "a source")


READERS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "study": (read_study, (STUDY,)),
    "recipe": (read_recipe, (RECIPE,)),
    "strategy": (read_strategy, (RECIPE, '{"truncation": 4}')),
    "row": (lambda path: read_row(path.read_bytes().decode("utf-8", "replace")), (ROW,)),
    "model": (_description, (MODEL,)),
    "checkpoint": (_checkpoint, (STATE,)),
    "url": (_url, URLS),
    "attack": (
        lambda path: Attack.parse(path.read_bytes().decode("utf-8", "replace")),
        ("pgd:8/255:10", "fgsm:.1"),
    ),
    "weights": (_book, ("{}", '{"/x": {"sha256": "0", "since": "2026-01-01"}}')),
}
"""The reader of each kind of text, and texts that it understands."""
ODD = ("NaN", "-1", "1e999", "9" * 400, '"\\ud800"', "\0", "[" * 500, "{" * 500, "null", "true", '""', "\x1b[2J", "../../x",
       "0x", "\ufeff", "''", "=", "[[", "]]", "#", "\r", '"a" = 1', "inf", "2026-01-01", "é" * 300, "@", "%", "://")  # fmt: skip
CHANGE = st.tuples(
    st.sampled_from(["cut", "put", "drop", "double", "flip", "swap"]), st.integers(0, 10**6), st.integers(1, 40),
    st.one_of(st.sampled_from(ODD), st.text(max_size=30)),
)  # fmt: skip
TEXTS = st.tuples(
    st.sampled_from(sorted(READERS)),
    st.integers(0, 9),
    st.one_of(st.lists(CHANGE, min_size=1, max_size=6), st.text(max_size=200), st.binary(max_size=200)),
)


def changed(text: str, changes: list[tuple[str, int, int, str]]) -> str:
    """The text after some damage."""
    for how, place, length, other in changes:
        at = place % (len(text) + 1)
        part = text[at : at + length]
        if how == "cut":
            text = text[:at]
        elif how == "put":
            text = text[:at] + other + text[at:]
        elif how == "drop":
            text = text[:at] + text[at + length :]
        elif how == "double":
            text = text[:at] + part + text[at:]
        elif how == "flip":
            text = text[:at] + part[::-1] + text[at + length :]
        else:
            text = text[:at] + other + text[at + length :]
    return text


def a_text(made: Any) -> None:
    """One text for one reader."""
    kind, which, content = made
    reader, good = READERS[kind]
    if isinstance(content, list):
        content = changed(good[which % len(good)], content)
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    before = os.environ.get("XDG_STATE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("s.toml" if kind == "study" else "s.json")
        path.write_bytes(raw)
        try:
            reader(path)
            said = None
        except CLEAR as error:
            said = str(error)
        finally:
            if before is not None:
                os.environ["XDG_STATE_HOME"] = before
            elif "XDG_STATE_HOME" in os.environ:
                del os.environ["XDG_STATE_HOME"]
    judging.SEEN[f"{kind}: {'read' if said is None else 'refused'}"] += 1
    if said is not None:
        assert said.strip()
        assert len(said) < 20_000
        assert kind != "url" or f":{SECRET}@" not in said
    redacted(raw.decode("utf-8", "replace"))
