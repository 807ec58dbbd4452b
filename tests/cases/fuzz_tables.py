"""Tables of labels made at random."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from fuzz_judging import judge, picture
from hypothesis import strategies as st

from automl_transfer.domain.spec import TableColumns, TaskSpec

CELLS = st.one_of(
    st.sampled_from(
        ["00.png", "01.png", "02.png", "03.png", "04.png", "05", "./06.png", "a/../07.png", "../x.png", "/etc/passwd",
         "s3://b/1.png", "08.PNG", "", " ", "nan", "cat", "dog", "emu", "0", "1", "1.0", "0.25", "train", "VAL", "test",
         "=1", "é", "e\u0301", "a;b", 'q"q', "\x1b[1m", "\ud7ff", "p1", "p2"]
    ),
    st.text(max_size=6),
)  # fmt: skip
HEADERS = st.lists(
    st.sampled_from(["file", "label", "class", "image", "path", "id", "split", "set", "group", "patient", "weight", "x",
                     "", "File Name", "LABEL", "file"]), min_size=1, max_size=5
)  # fmt: skip
GOOD_ROWS = st.one_of(
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["cat", "dog", "emu"])), max_size=12),
    st.permutations([(n, ("cat", "dog")[n % 2]) for n in range(12)]),
)
TABLES = st.fixed_dictionaries(
    {
        "header": st.one_of(st.sampled_from([["file", "label"], ["file", "label", "split"], ["image", "class", "patient"]]), HEADERS),
        "rows": st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=5),
        "good": GOOD_ROWS,
        "mark": st.sampled_from([",", ";", "\t", "|"]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
        "form": st.sampled_from(["csv", "csv", "tsv", "jsonl"]),
        "regular": st.sampled_from([True, True, False]),
        "skip": st.booleans(),
        "columns": st.dictionaries(
            st.sampled_from(["file", "label", "split", "group", "weight"]),
            st.sampled_from(["file", "label", "x", "split"]), max_size=2,
        )
        .map(lambda found: {} if len(found) > 1 else found),
        "damage": st.tuples(st.integers(-1200, 400), st.binary(min_size=1, max_size=3)),
    }
)  # fmt: skip


def a_table(tame: bool, made: dict[str, Any]) -> None:
    """D5: whatever a table says, each image has one label that a row gave it, or is counted."""
    if tame:
        good = (
            made["good"]
            if len({number for number, _ in made["good"]}) > 9
            else [(n, "cat" if n % 2 else "dog") for n in range(12)]
        )
        header = made["header"] if made["header"] == ["image", "class", "patient"] else ["file", "label"]
        made = {**made, "good": good, "damage": (-1, b""), "columns": {}, "skip": True, "header": header}
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "p"
        photos.mkdir()
        for number in range(12):
            (photos / f"{number:02d}.png").write_bytes(picture("colour", 2000 + number))
        header = ["file", "label"] if made["regular"] else made["header"]
        more = ["train" if "split" in header else "p1"] * (len(header) - 2)
        rows = [[f"{number:02d}.png", label, *more] for number, label in made["good"]]
        rows += [(row + row)[: len(header)] for row in made["rows"]] if not made["regular"] else []
        if made["form"] == "jsonl":
            text = "\n".join(json.dumps(dict(zip(header, row, strict=False))) for row in rows)
        else:
            text = "\n".join(made["mark"].join(row) for row in [header, *rows])
        raw = text.encode(made["encoding"], "replace")
        if made["damage"][0] >= 0:
            at, more = made["damage"]
            raw = raw[:at] + more + raw[at + 1 :]
        table = Path(place) / f"t.{made['form']}"
        table.write_bytes(raw)
        spec = TaskSpec(
            dataset=str(table), images=str(photos), columns=TableColumns(**made["columns"]), resolution=8,
            on_bad_image="skip" if made["skip"] else "refuse",
        )  # fmt: skip
        loaded = judge("csv", spec, Path(place) / "c", None)
        if loaded is None:
            return
        assert set(loaded.keys) <= {path.name for path in photos.iterdir()}
        if made["regular"] and made["damage"][0] < 0 and not made["columns"]:
            given: dict[str, set[str]] = {}
            for number, label in made["good"]:
                given.setdefault(f"{number:02d}.png", set()).add(label)
            for key, label in zip(loaded.keys, loaded.labels, strict=True):
                assert given[key] == {loaded.task.classes[label]}, key
