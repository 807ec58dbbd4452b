"""Tables made at random: an error is one sentence, and every image and row is accounted for."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import noise

from automl_transfer.data.base import Inventory
from automl_transfer.data.registry import open_dataset
from automl_transfer.domain.spec import TableColumns, TaskSpec
from automl_transfer.errors import DataError

IMAGES = ("a/1.png", "a/2.png", "b/1.png", "b/ü.png", "3.jpg", "3.png", "4.png")
FILES = st.sampled_from(
    [
        *IMAGES,
        "a/1",
        "3",
        "4",
        "./4.png",
        "a/../4.png",
        "../4.png",
        "A/1.PNG",
        "none.png",
        "/4.png",
        "a",
        "",
        "\\",
    ]
)
LABELS = st.sampled_from(
    ["cat", "dog", "Cat", " dog ", "", "nan", "0", "1.0", "10", "=1", "é", "e\u0301", "a,b;c"]
)
QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(IMAGES):
        (folder / name).parent.mkdir(exist_ok=True)
        noise(number, 8).save(folder / name)
    return folder


def opened(table: Path, photos: Path, **columns: str) -> Inventory | None:
    """The inventory, or None where the table is refused in words."""
    spec = TaskSpec(dataset=str(table), images=str(photos), columns=TableColumns(**columns))
    try:
        return open_dataset(spec).inventory
    except DataError:
        return None


@QUICK
@given(
    rows=st.lists(st.tuples(FILES, LABELS, st.sampled_from(["train", "VAL", "test", "", "x"])), max_size=14),
    mark=st.sampled_from(",;\t|"),
    splits=st.booleans(),
    as_json=st.booleans(),
)
def test_every_image_and_row_is_accounted_for(
    photos: Path,
    tmp_path: Path,
    rows: list[tuple[str, str, str]],
    mark: str,
    splits: bool,
    as_json: bool,
) -> None:
    header = ("file", "label", "split") if splits else ("file", "label")
    if as_json:
        table = tmp_path / "t.jsonl"
        table.write_text("\n".join(json.dumps(dict(zip(header, row, strict=False))) for row in rows))
    else:
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=mark)
        writer.writerows([header, *(row[: len(header)] for row in rows)])
        table = tmp_path / "t.csv"
        table.write_text(stream.getvalue(), encoding="utf-8")
    found = opened(table, photos)
    if found is None:
        return
    used, bad = set(found.keys), {each.key for each in found.outside}
    left = [each.key for each in found.left_out]
    assert len(used) == len(found.keys)
    assert len(bad) == len(found.outside)
    assert len(set(left)) == len(left)
    assert not used & bad
    assert not (used | bad) & set(left)
    assert set(IMAGES) <= used | bad | set(left)
    assert used <= set(IMAGES)
    assert set(found.labels.tolist()) == set(range(len(found.classes)))
    assert len({*found.classes}) == len(found.classes)
    if splits:
        assert found.splits is not None
    names = len({row[0] for row in rows})
    assert len(found.keys) + len(found.outside) <= names + sum(not row[0].strip() for row in rows)


@settings(QUICK, max_examples=25)
@given(
    content=st.one_of(
        st.binary(max_size=200), st.text(alphabet='file,label\n";\t1.png{}[]:\\\0ü=', max_size=80)
    )
)
def test_any_bytes_are_a_table_or_refused_in_words(
    photos: Path, tmp_path: Path, content: bytes | str
) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    for name in ("t.csv", "t.tsv", "t.jsonl"):
        (tmp_path / name).write_bytes(raw)
        opened(tmp_path / name, photos)
        (tmp_path / name).write_bytes(b"file,label\n4.png,a\n" + raw)
        opened(tmp_path / name, photos, file="file", label="label")
