"""What `predict` is given: every name has a row, nothing blocks, and what is left out is counted."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from recipes_by_hand import FIXED, recipe

from automl_transfer.cli.main import main
from automl_transfer.domain.model_description import Calibration
from automl_transfer.errors import ConfigurationError, DataError
from automl_transfer.models.heads import build_from_description
from automl_transfer.recipes.model_folder import load_model, save_model
from automl_transfer.recipes.predict import Predictor
from automl_transfer.recipes.predictions import none_word, write_csv

CLASSES = ("=null", "none", "\x1b[2J二")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "model"
    save_model(
        folder, build_from_description("torchvision/resnet18", 1, 1, 1, 3, 32),
        architecture="torchvision/resnet18", in_channels=1, resolution=32, classes=CLASSES,
        normalisation=FIXED, recipe=recipe(),
        calibration=Calibration(temperature=2.0, images=20, nll_before=0.5, nll_after=0.4),
    )  # fmt: skip
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)).save(path)
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_every_name_has_a_row_and_nothing_blocks_or_fills_memory(
    model: Path, image: Path, tmp_path: Path
) -> None:
    """E7: too long a name, a pipe, a device, a sparse file of 900 MB, a link that leads in a circle."""
    os.mkfifo(tmp_path / "pipe.png")
    sparse = tmp_path / "sparse.png"
    for path, size in ((sparse, 900_000_000), (tmp_path / "huge.png", 1 << 40)):
        with path.open("wb") as stream:
            stream.truncate(size)
    (tmp_path / "circle.png").symlink_to("circle.png")
    names = [
        "x" * 300 + ".png", "nul\0l.png", tmp_path / "pipe.png", "/dev/zero", sparse, tmp_path / "huge.png",
        tmp_path / "circle.png", tmp_path, image,
    ]  # fmt: skip
    rows = {row.file: row for row in Predictor.load(model).predict([str(name) for name in names])}
    reasons = [rows[str(name)].error or "" for name in names[:7]]
    words = ["too long", "null", "regular file", "regular file", "not an image", "at most", "symbolic links"]
    for reason, word in zip(reasons, words, strict=True):
        assert word in reason.lower().replace("levels of", "")
    assert rows[str(image)].error is None


def test_arrays_that_are_not_what_they_seem(model: Path) -> None:
    predictor = Predictor.load(model)
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 2, (5, 32, 32)).astype(bool)
    white = [row.probability for row in predictor.predict(np.where(gray, 255, 0).astype(np.uint8))]
    assert [row.probability for row in predictor.predict(gray)] == white  # no numbers, but black and white
    for given, said in (
        (gray.astype(np.float32), "nothing but 0 and 1, which are both black there"),
        (gray.astype(np.int64), "nothing but 0 and 1"),
        (rng.integers(0, 256, (40, 32, 3), dtype=np.uint8), r"one image in colour: pass image\[None\]"),
        ([np.zeros((32, 32), np.uint8)], r"got ndarray: pass numpy\.stack"),
        (Image.new("L", (32, 32)), "got Image"),
        (7, "got int"),
    ):
        with pytest.raises(DataError, match=said):
            list(predictor.predict(given))  # type: ignore[arg-type]
    dark = list(predictor.predict(gray.astype(np.uint8)))  # stored pixels may be dark
    assert len(dark) == 5


def test_a_folder_that_cannot_be_listed_does_not_end_the_list() -> None:
    """E7. As a user without rights: the tests may run as one who may read everything."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)
        (root / "closed").mkdir(mode=0o000)
        (root / "open").mkdir()
        (root / "open" / "a.png").touch()
        code = (
            "import os, sys; from pathlib import Path; from automl_transfer.data.walk import walk; "
            "os.geteuid() or os.setuid(65534); found = walk(Path(sys.argv[1])); "
            "print(found.images, found.left)"
        )
        try:
            done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True)
        finally:
            (root / "closed").chmod(0o700)
        assert done.returncode == 0, done.stderr
        assert "open/a.png" in done.stdout
        assert "Permission denied" in done.stdout


def test_a_command_line_with_an_impossible_name_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, "predict", model, "x" * 300)
    assert (code, out) == (2, "")
    assert "too long" in err


def test_what_is_left_out_of_folders_is_counted(
    model: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """D4: one line on stderr, and a last line of JSON."""
    for name in ("b.HEIC", "c.heic", "d.svg", "README", ".hidden.png"):
        (tmp_path / name).touch()
    _, out, err = said(capsys, "predict", model, tmp_path, "--format", "jsonl")
    *rows, last = map(json.loads, out.splitlines())
    assert [row["file"] for row in rows] == [str(image)]
    assert last["summary"] == {
        "rows": 1, "errors": 0, "left_out": {".heic": 2, ".svg": 1, "hidden or of the system": 1, "no suffix": 1},
    }  # fmt: skip
    assert "left out of the folders, because they are no images: 2 .heic, 1 .svg" in err
    image.unlink()
    code, _, err = said(capsys, "predict", model, tmp_path)
    assert code == 2
    assert "2 .heic" in err


def test_a_list_may_come_from_any_editor_and_a_name_that_ends_in_null_is_exact(
    model: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line had a byte order mark, or the last one a carriage return: no such file."""
    odd = image.with_name("\ufeffodd.png\r")
    odd.write_bytes(image.read_bytes())
    lines = f"\ufeff{image}\r\n\r\n{image}\r".encode()
    for given, names, more in (
        (lines, [image, image], ()),
        (b"\xef\xbb\xbf\n" + lines[3:], [image, image], ()),
        (f"{odd.name}\0{image}".encode(), [odd.name, image], ("--null",)),
    ):
        monkeypatch.chdir(image.parent)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code, out, err = said(capsys, "predict", model, "-", "--format", "jsonl", *more)
        assert (code, err) == (0, "")
        rows = [json.loads(row) for row in out.splitlines()]
        assert [row["file"] for row in rows] == [str(name) for name in names]
        assert all(row["label"] for row in rows)


def test_more_classes_are_never_listed_than_there_are(
    model: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """E16: --top 3000000 took 1.7 GB."""
    _, out, _ = said(capsys, "predict", model, image, "--top", "3000000")
    header, row = csv.reader(io.StringIO(out))
    assert header[-3:] == ["label_3", "probability_3", "error"]
    assert len(row) == len(header) == 8


def test_names_reach_the_terminal_without_steering_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """E5: file names, class names, the model card and errors."""
    hostile = tmp_path / "\x1b]0;x\x07\n\u202e.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(hostile)
    for form in ("csv", "jsonl"):
        _, out, err = said(capsys, "predict", model, hostile, "--top", "3", "--format", form)
        assert not any(char in out + err for char in "\x1b\x07\u202e")
        assert len(out.splitlines()) == (2 if form == "csv" else 1)
    assert json.loads(out)["file"] == str(hostile)  # exact
    assert {each["label"] for each in json.loads(out)["top"]} == set(CLASSES)
    code, out, err = said(capsys, "predict", model, f"{hostile}.gone")
    assert code == 2
    assert "\x1b" not in err
    assert "\x1b" not in (model / "README.md").read_text()


def test_a_terminal_of_another_encoding_loses_no_row(model: Path, tmp_path: Path) -> None:
    """D10: a file named 猫; CSV stays UTF-8 where no person reads it."""
    for name in ("猫.png", "z.png"):
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "automl_transfer", "predict", str(model), str(tmp_path)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode("utf-8"))))
    assert [Path(row["file"]).name for row in rows] == ["z.png", "猫.png"]


def test_below_the_threshold_there_is_no_label_but_still_the_best_class(
    model: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = Predictor.load(model)
    (sure,) = predictor.predict(image)
    assert sure.label == sure.best
    assert sure.probability is not None
    (unsure,) = predictor.predict(image, threshold=sure.probability + 1e-6)
    assert (unsure.label, unsure.best, unsure.probability) == (None, sure.best, sure.probability)
    (equal,) = predictor.predict(image, threshold=sure.probability)
    assert equal.label == sure.label
    stream = io.StringIO()
    written = write_csv([sure, unsure], stream, none=none_word(CLASSES))
    table = list(csv.DictReader(io.StringIO(stream.getvalue())))
    # A class is named "none": the word is another one.
    assert [row["label"] for row in table][1] == "none of these"
    assert table[0]["best"] == table[1]["best"]
    assert (written.rows, written.errors, written.unsure) == (2, 0, 1)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigurationError, match="between 0 and 1"):
            next(predictor.predict(image, threshold=wrong))
    _, out, err = said(capsys, "predict", model, image, "--threshold", "0.9999", "--format", "jsonl")
    assert json.loads(out)["label"] is None
    assert "1 of 1 images are below 0.9999" in err
    assert "not calibrated" not in err


def test_probabilities_are_calibrated_and_logits_are_the_networks_own(model: Path, image: Path) -> None:
    predictor = Predictor.load(model)
    logits = predictor.logits(np.asarray(Image.open(image))[None, :, :, None])
    _, described = load_model(model)
    assert described.temperature == 2.0
    expected = torch.softmax(torch.from_numpy(logits).double() / 2.0, dim=1).numpy()[0]
    (found,) = predictor.predict(image)
    assert dict(found.top) == pytest.approx(dict(zip(CLASSES, expected, strict=True)))


def test_a_model_of_an_earlier_version_reads_and_says_that_it_is_not_calibrated(
    model: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for file in model.iterdir():
        (old / file.name).write_bytes(file.read_bytes())
    described = json.loads((old / "model.json").read_text())
    del described["calibration"]
    (old / "model.json").write_text(json.dumps(described))
    assert Predictor.load(old).description.calibration is None
    code, _, err = said(capsys, "predict", old, image, "--threshold", "0.5")
    assert code == 0
    assert "not calibrated" in err
