"""Paths that nobody can use, as a person types them: one line that says so, with exit code 2, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl_transfer.api.estimator import TransferClassifier
from automl_transfer.cli.comparing import draw_page
from automl_transfer.cli.main import main
from automl_transfer.errors import ConfigurationError, DataError, OutputError, SourceError
from automl_transfer.files import kind_at
from automl_transfer.recipes.output import check_files
from automl_transfer.recipes.predict import Predictor

LONG = "x" * 300
DIGITS = "digits?per_class=6"


@pytest.mark.parametrize(
    "line",
    [
        f"report small --html {LONG}.html",
        "report small --html circle/p.html",
        f"evaluate m {DIGITS} --html {LONG}.html",
        f"evaluate m {DIGITS} --json {LONG}",
        f"evaluate {LONG} {DIGITS}",
        f"explore {DIGITS} --sheet {LONG}.png",
        f"explore {DIGITS} --figure circle/f.html",
        f"explore {DIGITS} --figure file/f.html",
        f"explore {DIGITS} --doctor -o circle/d",
        f"explore {LONG}",
        f"explore pictures --group-from {LONG}.csv",
        f"knowledge export -o {LONG}",
        f"train {DIGITS} -o {LONG}",
        f"train {DIGITS} --set source=checkpoint/@{LONG[:270]}",
        f"train {DIGITS} --set source=checkpoint/timm/resnet18@circle",
        f"package m -o {LONG} --format onnx",
        f"package {LONG} --format onnx",
        f"predict {LONG} file",
        "predict m circle",
        f"suite two.toml -o {LONG}",
        f"init {LONG}.toml",
        f"search {DIGITS} --storage {LONG}.db",
        f"search {DIGITS} --storage file/s.db",
        f"study create {DIGITS} --artifacts circle/a",
        f"dashboard --artifact-dir {LONG}",
    ],
    ids=lambda line: line.replace("x" * 100, "x"),
)
def test_it_is_refused_in_words(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("circle").symlink_to("circle")
    Path("file").touch()
    Path("two.toml").write_text(f'name = "two"\n[[study]]\ndataset = "{DIGITS}"\n')
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        (tmp_path / "pictures" / name / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_a_dataset_is_found_whatever_the_data_root_is_called(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explore", DIGITS, "--data-root", LONG, "--cache", str(tmp_path)])
    assert ended.value.code == 0
    assert "images in 10 classes; 60 / 60 / 359" in capsys.readouterr().out


def test_python_says_it_by_its_own_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a model folder must be within reach.*too long"):
        Predictor.load(LONG)
    for name in (LONG, "a\0b"):
        with pytest.raises(DataError, match="must be within reach"):
            kind_at(tmp_path / name, "an image", DataError)
        with pytest.raises(OutputError, match="must be a usable path"):
            check_files(tmp_path / name)
    with pytest.raises(ConfigurationError, match="a best-strategy file that exists"):
        TransferClassifier(strategy=LONG).fit([], [])
    assert kind_at(tmp_path, "it", DataError) == "folder"
    assert kind_at(Path(__file__), "it", DataError) == "file"
    assert kind_at(Path("/dev/null"), "it", DataError) == "something else"
    assert kind_at(Path(__file__) / "below", "it", DataError) is None


def test_the_folder_of_a_figure_is_made(tmp_path: Path) -> None:
    """`--figure` failed after the whole profile where its folder was missing; `--sheet` made it."""
    figure = tmp_path / "new" / "deeper" / "f.html"
    check_files(figure, makes_folders=True)
    draw_page([], figure)
    assert figure.read_text(encoding="utf-8").startswith("<!doctype html>")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot create the folder"):
        draw_page([], tmp_path / "file" / "f.html")
