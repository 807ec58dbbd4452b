"""Labels from a table (finding D5): every row is used or accounted for, and nothing is guessed silently."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import load, make_folder, noise

from automl_transfer.data.registry import open_dataset
from automl_transfer.data.split_names import SPLIT_NAMES, split_of
from automl_transfer.data.table_file import read_table
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.account import Reason
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import DataError

LABELS = ("cat", "dog")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images, photos/00.png to 11.png."""
    return make_images(tmp_path / "photos", 12)


def make_images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        noise(number).save(folder / f"{number:02d}.png")
    return folder


def rows(count: int = 12, ending: str = ".png") -> list[tuple[str, str]]:
    return [(f"{number:02d}{ending}", LABELS[number % 2]) for number in range(count)]


def write(
    path: Path, lines: list[tuple[Any, ...]], header: tuple[str, ...] = ("file", "label"), mark: str = ","
) -> Path:
    text = "\n".join(mark.join(map(str, line)) for line in (header, *lines)) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def opened(table: Path, **spec: Any) -> Any:
    return open_dataset(TaskSpec(dataset=str(table), **spec)).inventory


def refused(table: Path, message: str, **spec: Any) -> None:
    with pytest.raises(DataError, match=message):
        opened(table, **spec)


def by_key(task: LoadedTask) -> dict[str, str]:
    return {key: task.task.classes[label] for key, label in zip(task.keys, task.labels, strict=True)}


def test_a_csv_of_files_and_labels_is_a_dataset_d5(photos: Path, tmp_path: Path) -> None:
    table = write(photos / "labels.csv", rows())
    found = load(table, tmp_path / "cache")
    assert found.task.name == "labels.csv"
    assert by_key(found) == dict(rows())
    assert found.skipped == ()
    account = found.task.account
    assert account is not None
    assert [(each.reason, each.files) for each in account.left_out] == []
    assert len(account.notes) == 1
    assert "files from column 'file', labels from 'label'" in account.notes[0]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_byte_order_marks(photos: Path, mark: str, encoding: str) -> None:
    named = [(name, "Käse" if label == "cat" else label) for name, label in rows()]
    table = write(photos / "labels.csv", named, mark=mark)
    table.write_text(table.read_text(encoding="utf-8").replace("\n", "\r\n"), encoding=encoding)
    assert opened(table).classes == ("Käse", "dog")


def test_cells_in_quotes_and_the_mark_of_spreadsheets(photos: Path) -> None:
    lines = [(f'"{name}"', '"tabby, ""gray"""' if label == "cat" else label) for name, label in rows()]
    table = write(photos / "labels.csv", lines)
    assert opened(table).classes == ("dog", 'tabby, "gray"')
    table.write_text(
        "sep=;\n" + table.read_text().replace("file,label", "file;label").replace('.png",', '.png";')
    )
    assert opened(table).classes == ("dog", 'tabby, "gray"')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must have a header and rows, got nothing"),
        (b"file,label\n", "a row for each image, got none"),
        (b"00.png,cat\n01.png,dog\n", "first row of a table must name its columns, got '00.png', 'cat'"),
        (b"file,label\n00.png,K\xe4se\n", "must be UTF-8 text, got the byte 0xe4 in line 2"),
        (b"file,label\n00.png,cat,3\n", "must have 2 cells as its header has, got 3 in line 2"),
        (b"file,label\n00.png\n", "got 1 in line 2"),
        (b'file,label\n00.png,"cat\n', "well-formed"),
        (b"file,label,label\n00.png,cat,cat\n", "different names, got 'label' twice"),
        (b"file,label\n00\x00.png,cat\n", "null character"),
        (b"file,label\n00.png," + b"x" * 20_000 + b"\n", "at most 10,000 characters"),
        (b"file\n00.png\n", "no clear one of labels .* with the columns 'file': say which with --columns"),
        (b"a,b,c\n00.png,cat,1\n", "file names and one of labels .*columns 'a', 'b', 'c'.*--columns file=COLUMN"),
        (b"image,path,label\n00.png,00.png,cat\n", "file column must be clear, got 'image', 'path'"),
        (b"file,label,class\n00.png,1,cat\n", "label column must be clear.*--columns label=COLUMN"),
        (
            b"file,label,weight\n00.png,cat,2\n01.png,dog,-1\n02.png,cat,x\n03.png,dog,nan\n04.png,dog,1e400\n",
            "a weight must be 0, or a number .* got '-1' in row 2, 'x' in row 3, 'nan' in row 4, '1e400' in row 5 of "
            "column 'weight' of 'labels.csv'.*--columns weight=",
        ),
        (b"image,MEL,NV\n00.png,1.0,0.0\n01.png,0.0,1.0\n", "look one-hot.*idxmax"),
        (b"file,label\n00.png,0.25\n01.png,0.5\n", r"regression\) are out of scope"),
        (b"file,label\n00.png,\n01.png,nan\n", "rows with a label, got 2 without one"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used_are_one_clear_error(photos: Path, content: bytes, message: str) -> None:
    table = photos / "labels.csv"
    table.write_bytes(content)
    refused(table, message)


def test_columns_can_be_named_and_what_is_guessed_is_said(photos: Path) -> None:
    header = ("Image ID", "Category", "Set", "patient-id")
    lines = [(n, x, ("Training", "VAL", "test")[i // 4], f"p{i}") for i, (n, x) in enumerate(rows())]
    table = write(photos / "labels.csv", lines, header)
    found = opened(table)
    assert found.splits == ("train",) * 4 + ("validation",) * 4 + ("test",) * 4
    assert found.groups == tuple(f"p{number}" for number in range(12))
    assert found.notes[0] == (
        "labels.csv: files from column 'Image ID', labels from 'Category', splits from 'Set', groups from "
        "'patient-id' (file, label, split, group guessed from the names; --columns ROLE=COLUMN says otherwise, "
        "--columns ROLE= that there is none)"
    )
    stated = {"file": "Image ID", "label": "Category", "split": "", "group": ""}
    plain = opened(table, columns=stated)
    assert (plain.splits, plain.groups) == (None, None)
    assert "guessed" not in plain.notes[0]
    refused(table, "label column must be one of the table's, got 'species'", columns={"label": "species"})
    refused(table, "one meaning", columns={"file": "Image ID", "label": "Image ID"})


def test_an_id_is_the_file_where_nothing_else_is(photos: Path) -> None:
    table = write(photos / "train.csv", [(name, label) for name, label in rows(ending="")], ("id", "label"))
    found = opened(table)
    assert found.keys == tuple(name for name, _ in rows())
    assert "completed with the one file that fits: .png (12)" in found.notes[1]
    noise(99).save(photos / "00.jpg")
    assert [(bad.key, bad.reason) for bad in opened(table).outside] == [
        ("00", "could be '00.jpg', '00.png': name one of them")
    ]


def test_every_row_is_used_or_accounted_for(photos: Path, tmp_path: Path) -> None:
    noise(50).save(tmp_path / "outside.png")
    lines = [
        *rows(8),
        ("./00.png", "cat"),  # again
        ("01.png", "cat"),  # another label
        ("missing.png", "cat"),
        ("03.PNG", "dog"),
        ("../outside.png", "cat"),
        ("/etc/passwd.png", "cat"),
        ("C:\\x\\1.png", "cat"),
        ("https://example.org/1.png", "cat"),
        ("", "cat"),
        (".", "cat"),
        ("08.png", ""),
    ]
    table = write(tmp_path / "labels.csv", lines)
    spec = {"images": str(photos)}
    found = opened(table, **spec)
    reasons = {bad.key: bad.reason for bad in found.outside}
    assert reasons == {
        "../outside.png": "lies outside the folder of images",
        "/etc/passwd.png": "lies outside the folder of images",
        "C:\\x\\1.png": "lies outside the folder of images",
        "https://example.org/1.png": "is an address, not a file below the folder of images",
        ".": "is a folder, not an image",
        "row 17": "names no file",
        "01.png": "must have one label, got 'dog' and 'cat' in different rows",
        "03.PNG": "there is no such file, but '03.png'",
        "missing.png": "there is no such file",
    }
    assert found.notes[1:] == ("1 rows repeat another and count once",)
    assert [(each.key, each.reason) for each in found.left_out] == [
        ("08.png", Reason.NO_LABEL),
        ("09.png", Reason.NOT_NAMED),
        ("10.png", Reason.NOT_NAMED),
        ("11.png", Reason.NOT_NAMED),
    ]
    with pytest.raises(DataError, match=r"got 9 of 16 in labels.csv .*--on-bad-image skip"):
        load(table, tmp_path / "cache", **spec)
    kept = load(table, tmp_path / "cache", on_bad_image="skip", **spec)
    assert (len(kept.keys), len(kept.skipped)) == (7, 9)
    assert kept.task.account is not None
    assert (kept.task.account.seen, kept.task.account.used) == (20, 7)
    assert {each.reason: each.files for each in kept.task.account.left_out} == {
        Reason.NO_FILE: 8,
        Reason.CONTRADICTED: 1,
        Reason.NO_LABEL: 1,
        Reason.NOT_NAMED: 3,
    }


def test_where_images_lie(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write(tmp_path / "labels.csv", rows())
    refused(table, r"got none of 12 .*the table's own folder: say with --images DIR.*\(perhaps .*/photos\?\)")
    refused(table, "images must be an existing folder, got 'nosuch'", images="nosuch")
    expected = opened(table, images=str(photos))
    monkeypatch.chdir(tmp_path)
    for spec in ({"images": "photos"}, {"images": "./photos/"}):
        assert opened(Path("labels.csv"), **spec).keys == expected.keys
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert opened(Path("../labels.csv"), images="photos").keys == expected.keys  # beside the table
    spec = TaskSpec(dataset="labels.csv", images="photos")
    assert open_dataset(spec, tmp_path).inventory.keys == expected.keys  # the data root


def test_absolute_names_below_the_images_are_the_same_images(photos: Path, tmp_path: Path) -> None:
    plain = load(write(photos / "a.csv", rows()), tmp_path / "cache")
    absolute = [(str(photos / name), label) for name, label in rows()]
    assert (
        load(write(photos / "b.csv", absolute), tmp_path / "cache").task.fingerprint == plain.task.fingerprint
    )


def test_the_task_is_the_same_on_every_machine(photos: Path, tmp_path: Path) -> None:
    first = load(write(photos / "labels.csv", rows()), tmp_path / "cache")
    other = make_images(tmp_path / "other machine" / "images", 12)
    turned = [(name.replace("/", "\\"), label) for name, label in reversed(rows())]
    second = load(write(other.parent / "labels.csv", turned), tmp_path / "cache 2", images=str(other))
    assert second.task == first.task
    assert second.keys == first.keys
    folder = make_folder(tmp_path / "folder", {"x": 6, "y": 6})
    nested = [
        (path.relative_to(folder).as_posix(), path.parent.name) for path in sorted(folder.rglob("*.png"))
    ]
    as_table = load(write(folder / "labels.csv", nested), tmp_path / "cache")
    assert as_table.task.fingerprint == load(folder, tmp_path / "cache").task.fingerprint


def test_names_are_compared_in_one_unicode_spelling(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        noise(number).save(folder / unicodedata.normalize("NFD", f"ü{number}.png"))
    lines = [(unicodedata.normalize("NFC", f"ü{n}.png"), unicodedata.normalize(form, "é")) for n, form in
             enumerate(["NFC", "NFD"] * 2)] + [(f"ü{n}.png", "b") for n in range(4, 8)]  # fmt: skip
    found = opened(write(folder / "labels.csv", lines))
    assert len(found.keys) == 8
    assert found.classes == ("b", "é")
    noise(9).save(folder / "ü0.png")  # a file system that keeps both spellings has another image there
    if len(list(folder.glob("*.png"))) == 9:
        with pytest.raises(
            DataError, match=r"must differ by more than their Unicode spelling, got 'ü0.png' twice"
        ):
            opened(folder / "labels.csv")


def test_a_header_that_is_very_long_is_read_or_refused(photos: Path) -> None:
    columns = [f"embedding_dimension_{number:05d}" for number in range(6000)]
    rows = [[f"{name}.png", name, *["0"] * 6000] for name in ("0", "1")]
    text = "\n".join(",".join(row) for row in [["file", "label", *columns], *rows])
    (photos / "wide.csv").write_text(text)
    assert len(read_table(photos / "wide.csv").columns) == 6002
    (photos / "prose.csv").write_text("word " * 40_000)
    with pytest.raises(DataError, match=r"must be well-formed, got 'prose.csv'"):
        read_table(photos / "prose.csv")


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["0", "10", "9"], ("0", "9", "10")),
        (["-1", "1", "10"], ("-1", "1", "10")),
        (["1.0", "0.0", "10.0"], ("0", "1", "10")),
        (["01", "1", "10"], ("01", "1", "10")),
        (["1", "b", "10"], ("1", "10", "b")),
    ],
)
def test_whole_numbers_are_in_the_order_of_their_values(
    photos: Path, values: list[str], classes: tuple[str, ...]
) -> None:
    table = write(photos / "labels.csv", [(name, values[i % 3]) for i, (name, _) in enumerate(rows())])
    found = opened(table)
    assert found.classes == classes
    names = [values[i % 3] for i in range(12)]
    assert [found.classes[label] for label in found.labels] == [name.removesuffix(".0") for name in names]


def test_classes_that_differ_in_case_only_are_said(photos: Path) -> None:
    table = write(photos / "labels.csv", [(n, x if i > 2 else x.title()) for i, (n, x) in enumerate(rows())])
    assert "'Cat', 'Dog', 'cat', 'dog'" in opened(table).notes[1]


@pytest.mark.parametrize("name", [*SPLIT_NAMES, "Training", "VALID", "test_images", "dev set", " train "])
def test_the_usual_names_of_splits(name: str) -> None:
    assert split_of(name) is not None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ("train", "fold3", "test"),
            r"split must be one of train, .*got 'fold3' \(4 rows\).*--columns split=",
        ),
        (("train", "", "test"), r"got '' \(4 rows\)"),
        (("train", "val", "dev"), "one name, got 'dev', 'val' in column 'split'"),
    ],
)
def test_values_that_are_no_split(photos: Path, values: tuple[str, ...], message: str) -> None:
    lines = [(n, x, values[i // 4]) for i, (n, x) in enumerate(rows())]
    refused(write(photos / "labels.csv", lines, ("file", "label", "split")), message)


def test_groups(photos: Path) -> None:
    header = ("file", "label", "patient")
    good = write(photos / "a.csv", [(n, x, f"p{i // 2}") for i, (n, x) in enumerate(rows())], header)
    found = load(good, photos / "cache")
    assert found.groups is not None
    for split in ("train", "validation", "test"):
        inside = {found.groups[row] for row in found.indices[split]}
        rest = {found.groups[row] for other in found.indices.values() for row in other} - inside
        assert len(rest) + len(inside) == 6
    assert opened(good, group_from=r"(\d)\.png").groups == tuple(f"{i % 10}" for i in range(12))
    refused(good, "groups must be stated once", group_from="(.)", columns={"group": "patient"})
    bad = write(photos / "b.csv", [(n, x, x) for n, x in rows()], header)
    with pytest.raises(
        DataError, match=r"(?s)at least 3 groups.*groups from 'patient' .*guessed from the names"
    ):
        load(bad, photos / "cache")
    assert len(load(bad, photos / "cache", columns={"group": ""}).keys) == 12
    empty = write(photos / "c.csv", [(n, x, "p" if i else "") for i, (n, x) in enumerate(rows())], header)
    refused(empty, "each row must have a group, got none for 1 of 12")


def test_weights(photos: Path, tmp_path: Path) -> None:
    header = ("file", "label", "weight")
    weights = [0.5 + number % 3 for number in range(12)]
    lines = [(n, x, w) for (n, x), w in zip(rows(), weights, strict=True)]
    plain = load(write(photos / "a.csv", rows()), tmp_path / "cache")
    found = load(write(photos / "b.csv", lines, header), tmp_path / "cache")
    assert plain.weights is None
    assert found.weights is not None
    assert found.weights.tolist() == weights
    assert all(np.array_equal(found.indices[split], plain.indices[split]) for split in plain.indices)
    assert found.task.weights is not None
    assert found.task.account is not None
    assert found.task.account.notes[0] == (
        "training images count by their weights (0.5 to 2.5, mean 1.875); in scores each counts once"
    )
    assert "weights from 'weight' (file, label, weight guessed" in found.task.account.notes[1]
    ones = load(write(photos / "c.csv", [(n, x, 1) for n, x in rows()], header), tmp_path / "cache")
    without = load(photos / "b.csv", tmp_path / "cache", columns={"weight": ""})
    assert ones.task.fingerprint == without.task.fingerprint == plain.task.fingerprint
    assert ones.weights is None
    assert found.task.fingerprint != plain.task.fingerprint
    heavier = load(
        write(photos / "d.csv", [(*line[:2], 2 * line[2]) for line in lines], header), tmp_path / "cache"
    )
    assert heavier.task.fingerprint != found.task.fingerprint


def test_rows_that_disagree_about_a_weight_and_rows_without_a_label(photos: Path) -> None:
    header = ("file", "label", "sample_weight")
    lines = [
        *((n, x, 2) for n, x in rows(10)),
        ("00.png", "cat", "2.0"),
        ("01.png", "dog", 3),
        ("10.png", "", "?"),
    ]
    found = opened(write(photos / "labels.csv", lines, header))
    assert [(bad.key, bad.reason) for bad in found.outside] == [
        ("01.png", "must have one weight, got 2.0 and 3.0 in different rows")
    ]
    assert "1 rows repeat another and count once" in found.notes[1]


def test_images_of_weight_zero_are_left_out_of_training_and_counted(photos: Path, tmp_path: Path) -> None:
    header = ("file", "label", "weight")
    plain = load(write(photos / "a.csv", rows()), tmp_path / "cache")
    first = {split: plain.keys[plain.indices[split][0]] for split in ("train", "test")}
    lines = [(n, x, 0 if n in first.values() else 1) for n, x in rows()]
    found = load(write(photos / "b.csv", lines, header), tmp_path / "cache")
    assert found.task.splits.train == plain.task.splits.train - 1
    assert np.array_equal(found.indices["test"], plain.indices["test"])  # there an image counts once
    assert found.task.account is not None
    assert [(each.reason, each.files, each.sample) for each in found.task.account.left_out] == [
        (Reason.WEIGHTLESS, 1, (first["train"],))
    ]
    no_cats = write(photos / "c.csv", [(n, x, int(x == "dog")) for n, x in rows()], header)
    with pytest.raises(DataError, match=r"each class must have a training image with a weight .* 'cat'"):
        load(no_cats, tmp_path / "cache")
    nothing = write(photos / "d.csv", [(n, x, 0) for n, x in rows()], header)
    with pytest.raises(DataError, match="must have a weight above 0, got 0 for all 8"):
        load(nothing, tmp_path / "cache")


def test_json_lines(photos: Path) -> None:
    table = photos / "labels.jsonl"
    lines = [
        {"image": name, "label": number % 11, "boxes": [[1, 2]]} for number, (name, _) in enumerate(rows())
    ]
    lines.append({"image": "00.png", "label": None})
    table.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n")
    found = opened(table)
    assert found.classes == tuple(map(str, range(11)))
    assert "1 rows repeat another" in found.notes[1]
    for text, message in (
        ("[1]", "must be a JSON object, got list in line 1"),
        ("{", "must be a JSON object, got line 1"),
        ('{"file": "00.png", "label": ["cat", "dog"]}', "one value a row, got list.*several labels an image"),
        ("[" * 100_000, "must be readable|must be a JSON object"),
    ):
        table.write_text(text)
        refused(table, message)


def test_parquet(photos: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = photos / "labels.parquet"
    columns = {
        "file": [name for name, _ in rows()],
        "label": pyarrow.array([1, 10, None] * 4),
        "image": [{"bytes": b"x"}] * 12,
    }
    parquet.write_table(pyarrow.table(columns), table)
    refused(table, "file column must be clear, got 'file', 'image'")
    found = opened(table, columns={"file": "file"})
    assert found.classes == ("1", "10")
    refused(table, "must hold texts or numbers, got struct", columns={"file": "image"})
    table.write_bytes(table.read_bytes()[:-10])
    refused(table, "Parquet file must be whole")


def test_parquet_without_its_library_says_what_to_install(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (photos / "labels.parquet").write_bytes(b"PAR1")
    refused(photos / "labels.parquet", r"needs pyarrow.*automl-transfer\[tables\].*CSV")


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.txt", "labels.json"])
def test_other_files_are_no_tables(photos: Path, name: str) -> None:
    (photos / name).write_text("file,label\n")
    refused(photos / name, r"must be an \.npz or a table of labels \(\.csv, \.tsv")


def test_images_and_columns_need_a_table(photos: Path) -> None:
    for spec in ({"images": "x"}, {"columns": {"file": "x"}}):
        with pytest.raises(DataError, match="images and columns work with a table"):
            open_dataset(TaskSpec(dataset="digits", **spec))


def test_unreadable_images_of_a_table_are_bad_images(photos: Path, tmp_path: Path) -> None:
    (photos / "00.png").write_bytes(b"no image")
    table = write(photos / "labels.csv", rows())
    with pytest.raises(DataError, match=r"00.png: not an image"):
        load(table, tmp_path / "cache")
    assert len(load(table, tmp_path / "cache", on_bad_image="skip").keys) == 11


def test_changed_labels_are_another_task_and_decode_nothing_again(photos: Path, tmp_path: Path) -> None:
    table = write(photos / "labels.csv", rows())
    first = load(table, tmp_path / "cache")
    write(table, [(name, LABELS[i // 6]) for i, (name, _) in enumerate(rows())])
    second = load(table, tmp_path / "cache")
    assert second.task.fingerprint != first.task.fingerprint
    assert np.array_equal(second.images, first.images)
    assert len(list((tmp_path / "cache" / "images").iterdir())) == 1
