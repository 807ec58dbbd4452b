"""Lists of exclusions (what the doctor writes: exclude.csv, weights.csv) and tables of groups, made at random."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import fuzz_judging as judging
import numpy as np
from hypothesis import strategies as st

from automl_transfer.data.base import NoTaskError
from automl_transfer.data.exclude import apply_exclusions, read_exclusions
from automl_transfer.data.groups import read_groups
from automl_transfer.domain.task import SPLITS
from automl_transfer.errors import DataError

KEYS = tuple(f"{name}/{number:02d}.png" for name in ("cat", "dog") for number in range(6))
INDICES = {"train": np.arange(0, 12, 2), "validation": np.array([1, 5, 9]), "test": np.array([3, 7, 11])}
CELLS = st.one_of(
    st.sampled_from(
        [*KEYS, "./cat/00.png", "cat\\\\01.png", "elsewhere.png", "", " ", "training", "everything", "Training", "0", "0.5",
         "1", "-1", "nan", "inf", "1e-400", "0.0000000001", "\x1b[1m", "=1", 'q"q', "a,b", "\ud7ff", "é"]
    ),
    st.text(max_size=6),
)  # fmt: skip
LINES = st.lists(
    st.tuples(
        st.sampled_from(KEYS), st.sampled_from(["training", "everything", ""]),
        st.sampled_from(["", "0", "0.25", "0.999", "1e-9"]), st.just("wrong label"), st.sampled_from(["", "0.97", "1"]),
    ).map(lambda line: (*line[:2], "0", *line[3:]) if line[1] == "everything" else line),
    max_size=10,
)  # fmt: skip
DAMAGE = st.tuples(st.integers(-600, 300), st.binary(min_size=1, max_size=3))
LISTS = st.fixed_dictionaries(
    {
        "lines": LINES,
        "header": st.lists(
            st.sampled_from(["image", "from", "weight", "reason", "score", "", "x"]), min_size=1, max_size=5
        ),
        "rows": st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=5),
        "form": st.sampled_from(["csv", "csv", "tsv", "jsonl", "txt"]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
        "damage": DAMAGE,
    }
)
HEADER = ("image", "from", "weight", "reason", "score")


def _written(place: str, made: dict[str, Any], header: list[str], rows: list[Any]) -> Path:
    if made["form"] == "jsonl":
        text = "\n".join(json.dumps(dict(zip(header, row, strict=False))) for row in rows)
    else:
        text = "\n".join(("\t" if made["form"] == "tsv" else ",").join(row) for row in (header, *rows))
    raw = text.encode(made.get("encoding", "utf-8"), "replace")
    at, more = made["damage"]
    if at >= 0:
        raw = raw[:at] + more + raw[at + 1 :]
    path = Path(place) / f"l.{made['form']}"
    path.write_bytes(raw)
    return path


def _judged(kind: str, error: Exception | None) -> None:
    judging.SEEN[f"{kind}: {'used' if error is None else 'refused'}"] += 1
    if error is not None:
        said = str(error)
        assert said.strip()
        assert len(said) < 5000
        judging.WHY[f"{kind}: {said[:60]}"] += 1


def a_list(tame: bool, made: dict[str, Any]) -> None:
    """What is not listed stays in its split; what is, loses no more than its line says."""
    if tame:
        made = {**made, "header": HEADER, "rows": [], "form": "csv", "damage": (-1, b"")}
    rows = [line[: len(made["header"])] for line in made["lines"]] + made["rows"]
    with tempfile.TemporaryDirectory() as place:
        path = _written(place, made, made["header"], rows)
        try:
            listed = read_exclusions(str(path))
            left = apply_exclusions(listed, KEYS, {"elsewhere.png"}, INDICES, None)
        except (DataError, NoTaskError) as error:
            _judged("exclude", error)
            return
    _judged("exclude", None)
    names = np.array(KEYS)
    for split in SPLITS:
        gone = set(names[INDICES[split]]) - set(names[left.indices[split]])
        assert gone <= {image for image, each in listed.items() if each.scope == "everything"}
    for row, key in enumerate(KEYS):
        assert left.weights[row] == (listed[key].weight if key in listed else 1.0)
    assert ((left.weights >= 0.0) & (left.weights <= 1.0)).all()
    if tame:
        assert set(listed) == {line[0] for line in made["lines"]}


GROUPS = st.fixed_dictionaries(
    {
        "lines": st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(["a", "b"])), max_size=6),
        "whole": st.booleans(),
        "header": st.sampled_from([["file", "group"], ["group", "file"], ["file"], ["x", "y"], ["file", "group", "file"]]),
        "rows": st.lists(st.lists(CELLS, min_size=0, max_size=4), max_size=4),
        "form": st.just("csv"),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
        "damage": DAMAGE,
        "expression": st.one_of(st.none(), st.sampled_from([r"(\d)", "(cat|dog)/", "(", "((a))", "(x)?", "(.*)"]), st.text(max_size=12)),
    }
)  # fmt: skip


def some_groups(tame: bool, made: dict[str, Any]) -> None:
    """Each image has one group, the one that its line or its name says."""
    if tame:
        made["lines"] = list(dict(made["lines"]).items())
        made = {
            **made,
            "header": ["file", "group"],
            "rows": [],
            "damage": (-1, b""),
            "whole": True,
            "encoding": "utf-8",
        }
    rows = [
        *made["lines"],
        *((key, "c") for key in KEYS if made["whole"] and key not in dict(made["lines"])),
        *made["rows"],
    ]
    with tempfile.TemporaryDirectory() as place:
        path = _written(place, made, made["header"], rows)
        try:
            found = read_groups(
                made["expression"] if made["expression"] is not None else str(path), KEYS, Path(place)
            )
        except DataError as error:
            _judged("groups", error)
            return
    _judged("groups", None)
    assert len(found) == len(KEYS)
    if tame and made["expression"] is None:
        assert set(found) <= {"a", "b", "c"}
