"""`predict` and `evaluate` on what people give them (D4, D6, D10, D13, E5, E6, E7, E16)."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from case_runner import Case, all_of, check, image, images, nothing, of, written
from conftest import Finished
from PIL import Image


def sparse(name: str, size: int) -> object:
    def make(place: Path) -> None:
        with (place / name).open("wb") as stream:
            stream.truncate(size)

    return make


def undecodable(place: Path) -> None:
    (place / "d").mkdir()
    image("d/a.png")(place)
    os.rename(place / "d/a.png", os.fsencode(place / "d") + b"/\xff.png")  # noqa: PTH104  a name in bytes


def twelve_bits(place: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (8, 8), dtype=np.uint16)
    Image.fromarray(values).save(place / "deep.png")


A = image("a.png")
CASES = [
    Case("D4 an image, a folder, one that is broken", all_of(A, images("f", x=2), written("f/b.png", b"x")),
         "predict {model} a.png f", ("f/x/01.png", "1 of 4 images could not be read")),
    Case("D4 what is no image is counted", all_of(images("f", x=2), written("f/c.HEIC", b"x"), written("f/n.txt", b"x")),
         "predict {model} f", "left out of the folders, because they are no images: 1 .heic, 1 .txt"),
    Case("D4 a folder without images", written("f/c.HEIC", b"x"), "predict {model} f", "1 .heic", 2),
    Case("E7 a pipe does not block", all_of(A, lambda place: os.mkfifo(place / "p.png")), "predict {model} a.png p.png",
         ("a.png", "p.png", "regular file")),
    Case("E7 a device", A, "predict {model} a.png /dev/zero", "regular file"),
    Case("E7 a sparse file of a terabyte", all_of(A, sparse("s.png", 1 << 40)), "predict {model} a.png s.png", "at most"),
    Case("E7 a name over 255 bytes, typed", nothing, "predict {model} " + "x" * 300, "File name too long", 2),
    Case("E7 a name over 255 bytes, in a list", A, "predict {model} -", "a.png", stdin="x" * 300 + ".png\na.png\n"),
    Case("E7 a link in a circle", all_of(A, lambda place: (place / "c.png").symlink_to("c.png")),
         "predict {model} -", ("c.png", "a.png"), stdin="c.png\na.png\n"),
    Case("E7 nothing on stdin", nothing, "predict {model} -", "got nothing: one name a line", 2),
    Case("E7 names that end in a null character", A, "predict {model} -0 -", "a.png", stdin="a.png\0"),
    Case("E7 all of them broken", written("b.png", b"x"), "predict {model} b.png", "1 of 1 images could not be read", 1),
    Case("E5 a name that steers the terminal", image("\x1b]0;x\x07\u202e.png"), "predict {model} .", ".png"),
    Case("E5 a name of no file that steers it", nothing, "predict {model} '\x1b[2J.png'", "must exist", 2),
    Case("E6 a name that is a formula", image("=1+1.png"), "predict {model} -", "'=1+1.png", stdin="=1+1.png\n"),
    Case("D10 a name that is no UTF-8", undecodable, "predict {model} d", "file,label"),
    Case("E16 three million classes", A, "predict {model} a.png --top 3000000", "label_2,probability_2,error",
         never=("label_3",)),
    Case("E16 no class", A, "predict {model} a.png --top 0", "top", 2),
    Case("D6 files of 12 bits for a model of 8 are refused by name", all_of(A, twelve_bits), "predict {model} a.png deep.png",
         ("deep.png", "a.png")),
    Case("E7 a threshold that cannot be", A, "predict {model} a.png --threshold 1.5", "threshold", 2),
    Case("E7 a model that is not there", A, "predict gone a.png", "model.json", 2),
    Case("D13 evaluate on a folder with other classes", images("e", cat=3, wolf=3), "evaluate {model} e", "wolf"),
    Case("D13 evaluate on none of the classes", images("e", wolf=3, lynx=3), "evaluate {model} e", "wolf", 2),
    Case("D13 evaluate counts what is broken", all_of(images("e", cat=3, dog=3), written("e/cat/b.png", b"x")),
         "evaluate {model} e", ("0 of 6 images wrong", "1 image is not judged, because unusable: cat/b.png")),
    Case("D4 evaluate on a folder of HEIC", written("e/cat/a.HEIC", b"x"), "evaluate {model} e", ".heic", 2),
    Case("D5 evaluate on a table", all_of(images("e", cat=3, dog=3), written("t.csv", "file,label\n" + "".join(
         f"{c}/{n:02d}.png,{c}\n" for c in ("cat", "dog") for n in range(3)))), "evaluate {model} t.csv --images e", "6 images"),
    Case("E7 evaluate writes nothing where there is no folder", images("e", cat=3, dog=3),
         "evaluate {model} e --html gone/e.html", "a folder that exists", 2),
    Case("D11 a page is written whole", images("e", cat=3, dog=3), "evaluate {model} e --html e.html --json e.json",
         writes=("e.html", "e.json")),
]  # fmt: skip


@of(CASES)
def test_predict_and_evaluate(
    case: Case, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = check(case, tmp_path, monkeypatch, **finished.names)
    if case.command.startswith("predict") and case.code == 0:
        rows = list(csv.reader(io.StringIO(done.out)))
        assert len({len(row) for row in rows}) == 1, "rows of different lengths"
        assert all(bool(row[1]) != bool(row[-1]) for row in rows[1:]), (
            "a label or an error, never both or none"
        )


def test_d10_json_lines_hold_the_exact_name(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("D10", image("\x1b猫.png"), "predict {model} . --format jsonl")
    done = check(case, tmp_path, monkeypatch, **finished.names)
    assert json.loads(done.out.splitlines()[0])["file"] == "\x1b猫.png"
