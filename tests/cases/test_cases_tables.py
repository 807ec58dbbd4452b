"""Tables of labels as people have them (D5, E5, E6, E3): columns are named or clear, every row is accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from case_runner import Case, all_of, check, images, of, written

NAMES = [f"{n:02d}.png" for n in range(12)]
PHOTOS = images("p", **{".": 12})


def table(header: str, *lines: str, name: str = "t.csv", encoding: str = "utf-8", end: str = "\n") -> object:
    text = "".join(line + end for line in (header, *lines))
    return all_of(PHOTOS, written(name, text.encode(encoding)))


def rows(mark: str = ",", labels: str = "ab", more: str = "", names: list[str] = NAMES) -> list[str]:
    return [f"{name}{mark}{labels[n % len(labels)]}{more}" for n, name in enumerate(names)]


HERE = "explore t.csv --images p"
GOOD = "12 images in 2 classes"
CASES = [
    Case("D5 file and label", table("file,label", *rows()), HERE, (GOOD, "labels from 'label'")),
    Case("D5 semicolons, as Excel writes in half of Europe", table("file;label", *rows(";")), HERE, GOOD),
    Case("D5 tabs and a .tsv", table("file\tlabel", *rows("\t"), name="t.tsv"), "explore t.tsv --images p", GOOD),
    Case("D5 a byte-order mark and CRLF", table("file,label", *rows(), encoding="utf-8-sig", end="\r\n"), HERE, GOOD),
    Case("D5 UTF-16 of Excel", table("file\tlabel", *rows("\t"), encoding="utf-16"), HERE, GOOD),
    Case("D5 Latin-1 is not guessed", table("file,label", *rows(labels="é"), encoding="latin-1"), HERE,
         "must be UTF-8 text, got the byte 0xe9 in line 2", 2),
    Case("D5 JSON lines", table("", *(json.dumps({"image": n, "class": i % 2}) for i, n in enumerate(NAMES)),
                                name="t.jsonl"), "explore t.jsonl --images p", GOOD),
    Case("D5 names without suffix", table("id,label", *rows(names=[n[:2] for n in NAMES])), HERE,
         (GOOD, "completed with the one file that fits: .png (12)")),
    Case("D5 a header that says nothing", table("a,b", *rows()), HERE, ("columns 'a', 'b'", "--columns file=COLUMN"), 2),
    Case("D5 and what it advises", table("a,b", *rows()), f"{HERE} --columns file=a,label=b", GOOD),
    Case("D5 no header", table(*rows()), HERE, "first row of a table must name its columns", 2),
    Case("D5 two columns that may be the label", table("file,label,class", *rows(more=",1")), HERE,
         ("label column must be clear", "--columns label=COLUMN"), 2),
    Case("D5 one-hot columns", table("image,MEL,NV", *rows(labels=["1,0", "0,1"])), HERE, "idxmax", 2),
    Case("D5 a regression", table("file,label", *(f"{n},{i}.25" for i, n in enumerate(NAMES))), HERE,
         "out of scope", 2),
    Case("D5 B10 several labels an image", table("", json.dumps({"file": "00.png", "label": ["a", "b"]}), name="t.jsonl"),
         "explore t.jsonl --images p", "several labels an image", 2),
    Case("D5 splits by their usual names",
         table("file,label,split", *(f"{n},{'ab'[i % 2]},{('Training', 'dev', 'TEST')[i // 4]}" for i, n in enumerate(NAMES))),
         HERE, (GOOD, "4 / 4 / 4")),
    Case("D5 a split that is none", table("file,label,split", *rows(more=",fold3")), HERE, ("got 'fold3'", "--columns split="), 2),
    Case("D5 a group that lies across", table("file,label,patient", *(f"{n},{'ab'[i % 2]},p{i // 2}" for i, n in enumerate(NAMES))),
         HERE, (GOOD, "groups from 'patient'")),
    Case("D5 files that are missing", table("file,label", *rows(), "99.png,a"), "search t.csv --images p",
         ("there is no such file", "--on-bad-image skip"), 2),
    Case("D5 are skipped and counted", table("file,label", *rows(), "99.png,a"),
         f"{HERE} --set task.on_bad_image=skip", (GOOD, "1 file missing below the images")),
    Case("D5 no file is there at all", table("file,label", *rows()), "explore t.csv", ("got none of 12", "--images DIR"), 2),
    Case("D5 two rows contradict each other", table("file,label", *rows(), "00.png,b"), "search t.csv --images p",
         "must have one label, got 'a' and 'b' in different rows", 2),
    Case("D5 rows that repeat another", table("file,label", *rows(), "00.png,a"), HERE, (GOOD, "1 rows repeat another and count once")),
    Case("D5 images that no row names", table("file,label", *rows()[:10]), HERE,
         ("10 images in 2 classes", "2 images that the table does not name")),
    Case("D5 rows without a label", table("file,label", *rows()[:10], "10.png,", "11.png,nan"), HERE,
         ("10 images in 2 classes", "2 images without a label")),
    Case("D5 a file outside of the images", all_of(table("file,label", *rows(), "../t.csv,a")), "search t.csv --images p",
         "lies outside the folder of images", 2),
    Case("D5 an address", table("file,label", *rows(), "https://example.org/1.png,a"), "search t.csv --images p",
         "is an address, not a file", 2),
    Case("D5 classes 0, 10, 9 are in their order", table("file,label", *rows(labels=["10", "9", "0"])), HERE,
         "0 2 1 1 9 2 1 1 10 2 1 1"),
    Case("D5 a row with a cell too many", table("file,label", *rows(), "00.png,a,b"), HERE, "got 3 in line 14", 2),
    Case("D5 a spreadsheet", written("t.xlsx", b"PK"), "explore t.xlsx", "spreadsheets can save a table as CSV", 2),
    Case("D5 nothing but a header", table("file,label"), HERE, "a row for each image, got none", 2),
    Case("D5 columns for a folder", PHOTOS, "explore p --columns file=x", "work with a table of labels", 2),
    Case("D5 a role that is unknown", table("file,label", *rows()), f"{HERE} --columns fiel=file", "--columns must read ROLE=COLUMN", 2),
    Case("E5 control characters in labels", table("file,label", *rows(labels=["a\x1b[31m", "b"])), HERE, "control character", 2),
    Case("E5 control characters in names of files", table("file,label", *rows(), "\x1b]0;x\x07.png,a"),
         "search t.csv --images p", "there is no such file", 2),
    Case("E6 a label that is a formula", table("file,label", *rows(labels=["=1+1", "b"])), HERE, GOOD),
    Case("E4 a label of 600 characters", table("file,label", *rows(labels=["x" * 600, "b"])), HERE, "at most 500 characters, got 600", 2),
    Case("E12 a cell of 20,000 characters", table("file,label", "00.png," + "x" * 20_000), HERE, "at most 10,000 characters", 2),
    Case("E11 a null character", table("file,label", "0\0.png,a"), HERE, "null character", 2),
    Case("E11 JSON without an end", table("[" * 9_000, name="t.jsonl"), "explore t.jsonl --images p",
         "a table must be readable, got 't.jsonl'", 2),
]  # fmt: skip


@of(CASES)
def test_tables(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(case, tmp_path, monkeypatch)
