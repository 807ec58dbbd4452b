"""What must hold for any text that a reader of ours is given: it is understood, or refused in one clear error."""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_judging as judging
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))  # small_runs
import small_runs

from automl_transfer.domain.attack import Attack
from automl_transfer.domain.model_description import read_description
from automl_transfer.domain.stored_strategy import read_strategy as read_row
from automl_transfer.errors import TrialDataError, UnreadableRowError, UserError
from automl_transfer.knowledge.library import shipped
from automl_transfer.knowledge.reading import parse_knowledge, read_knowledge
from automl_transfer.models import known
from automl_transfer.recipes.best_strategy import read_recipe, read_strategy
from automl_transfer.redaction import redacted
from automl_transfer.space.study_file import preset_path, read_study
from automl_transfer.space.suite_file import read_suite
from automl_transfer.store.url import StoreURL
from automl_transfer.training.run import TrainingRun
from automl_transfer.training.state import STATE, TENSORS

ROOT = Path(__file__).parents[2]
SECRET = "Zq7xYw5"
CLEAR = (UserError, TrialDataError, UnreadableRowError)
RECIPE = (ROOT / "tests" / "recipes" / "old" / "recipe-1.json").read_text(encoding="utf-8")
STUDY = preset_path("quick").read_text(encoding="utf-8")
MODEL = json.dumps(
    {
        "schema": "automl-transfer/model/1", "architecture": "timm/resnet18", "groups_kept": 3, "pool": 1, "taps": 1,
        "resolution_scale": 1.0, "in_channels": 3, "resolution": 32, "classes": ["a", "b"],
        "normalisation": {"kind": "fixed", "mean": [0.5] * 3, "std": [0.5] * 3}, "weights_sha256": "0" * 64,
    }
)  # fmt: skip
SUITE = """name = "suite"
preset = "quick"
[search]
minutes = 3
[[study]]
dataset = "digits"
[[study]]
dataset = "mnist5k"
search.minutes = 5
"""
ROW = json.dumps({"space": 7, "set": {"truncation": 4, "learning_rate": 0.01}})
URLS = (
    f"postgresql://ann:{SECRET}@h:5432/d?sslmode=require",
    "sqlite:///a.db",
    f"host=h password={SECRET} dbname=d",
)


KNOWN = (
    shipped()
    .model_copy(
        update={
            "tasks": tuple(
                task.model_copy(update={"strategies": task.strategies[:3]}) for task in shipped().tasks[:2]
            )
        }
    )
    .to_json()
)


@functools.cache
def _checkpoints() -> tuple[TrainingRun, str, bytes]:
    """A small real run after an epoch of two, and what its checkpoint holds."""
    with tempfile.TemporaryDirectory() as folder:
        run = small_runs.make_run(small_runs.small_task(Path(folder) / "images"), max_epochs=2)
        run.train_to(1)
        run.save(Path(folder) / "c")
        return (
            run,
            (Path(folder) / "c" / STATE).read_text("utf-8"),
            (Path(folder) / "c" / TENSORS).read_bytes(),
        )


def _checkpoint(path: Path) -> None:
    run, _, tensors = _checkpoints()
    (path.parent / TENSORS).write_bytes(tensors)
    path.rename(path.parent / STATE)
    found = run.restore(path.parent)
    assert 0 <= found.epoch <= run.max_epochs
    assert run.batch >= 1
    assert run.accumulate >= 1


def _knowledge(path: Path) -> None:
    found = read_knowledge(path)
    assert parse_knowledge(found.knowledge.to_json(), "again").strategies == found.strategies
    assert all(0.0 <= known.rank <= 1.0 for task in found.knowledge.tasks for known in task.strategies)


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


READERS: dict[str, tuple[Callable[[Path], Any], Callable[[], tuple[str, ...]]]] = {
    "study": (read_study, lambda: (STUDY,)),
    "suite": (read_suite, lambda: (SUITE,)),
    "recipe": (read_recipe, lambda: (RECIPE,)),
    "strategy": (read_strategy, lambda: (RECIPE, '{"truncation": 4}')),
    "knowledge": (_knowledge, lambda: (KNOWN,)),
    "row": (lambda path: read_row(path.read_bytes().decode("utf-8", "replace")), lambda: (ROW,)),
    "model": (_description, lambda: (MODEL,)),
    "checkpoint": (_checkpoint, lambda: (_checkpoints()[1],)),
    "url": (_url, lambda: URLS),
    "attack": (
        lambda path: Attack.parse(path.read_bytes().decode("utf-8", "replace")),
        lambda: ("pgd:8/255:10", "fgsm:.1"),
    ),
    "weights": (_book, lambda: ("{}", '{"/x": {"sha256": "0", "since": "2026-01-01"}}')),
}
"""The reader of each kind of text, and texts that it understands."""
ODD = ("NaN", "-1", "1e999", "9" * 400, '"\\ud800"', "\0", "[" * 500, "{" * 500, "null", "true", '""', "\x1b[2J", "../../x",
       "0x", "\ufeff", "''", "=", "[[", "]]", "#", "\r", '"a" = 1', "inf", "2026-01-01", "é" * 300, "@", "%", "://")  # fmt: skip
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.integers(), st.floats(), st.text(max_size=20),
        st.sampled_from([10**400, 2**63, "\ud800", "../x", "\x1b[2J", "a" * 3000]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
GRAFT = st.tuples(st.just("graft"), st.integers(0, 10**6), st.integers(1, 40), VALUES)
CHANGE = st.one_of(
    st.tuples(
        st.sampled_from(["cut", "put", "drop", "double", "flip", "swap"]), st.integers(0, 10**6), st.integers(1, 40),
        st.one_of(st.sampled_from(ODD), st.text(max_size=30)),
    ),
    GRAFT,
)  # fmt: skip
WHICH = st.integers(0, 9)
CHANGES = st.lists(CHANGE, min_size=1, max_size=6)
GRAFTS = st.lists(GRAFT, min_size=1, max_size=3)
CONTENT = st.one_of(
    *[CHANGES, GRAFTS] * 3,
    st.text(max_size=200),
    st.binary(max_size=200),
)


def grafted(text: str, place: int, length: int, value: Any) -> str:
    """The text with another value, or none, at one of its keys: what is wrong stands in good JSON or TOML."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        lines = text.split("\n")
        own = [number for number, line in enumerate(lines) if "=" in line] or [0]
        at = own[place % len(own)]
        lines[at] = f"{lines[at].partition('=')[0]}= {json.dumps(value)}" if length % 5 else ""
        return "\n".join(lines)
    nodes: list[tuple[Any, Any]] = []
    waiting = [whole]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            nodes += [(holder, key) for key in keys]
            waiting += [holder[key] for key in keys]
    if not nodes:
        return json.dumps(value)
    holder, key = nodes[place % len(nodes)]
    if length % 5:
        holder[key] = value
    else:
        del holder[key]
    return json.dumps(whole)


def changed(text: str, changes: list[tuple[str, int, int, Any]]) -> str:
    """The text after some damage."""
    for how, place, length, other in changes:
        at = place % (len(text) + 1)
        part = text[at : at + length]
        if how == "graft":
            text = grafted(text, place, length, other)
        elif how == "cut":
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


def a_text(kind: str, which: int, content: Any) -> None:
    """One text for one reader."""
    reader, texts = READERS[kind]
    if isinstance(content, list):
        good = texts()
        content = changed(good[which % len(good)], content)
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    before = os.environ.get("XDG_STATE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("s.toml" if kind in ("study", "suite") else "s.json")
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
