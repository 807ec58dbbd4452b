"""Best-strategy files that cannot be run: one clear error, exit code 2, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from automl_transfer.cli.main import main

OLD = Path(__file__).parents[1] / "recipes" / "old" / "recipe-1.json"
Change = Callable[[dict[str, Any]], None]


def put(*keys: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        place = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def on_disk(folder: Path) -> list[tuple[str, int]]:
    """Every file and folder but the cache of images, which holds nothing of the recipe."""
    found = [path for path in sorted(folder.rglob("*")) if "cache" not in path.relative_to(folder).parts]
    return [(str(path), path.stat().st_size) for path in found]


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error of a command that exits with 2 and leaves nothing behind."""
    before = on_disk(folder)
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--cache", str(folder / "cache")])
    shown = capsys.readouterr()
    assert ended.value.code == 2, shown.err
    assert shown.out == ""
    assert shown.err.count("error: ") == 1
    assert "Traceback" not in shown.err
    assert on_disk(folder) == before
    return shown.err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("surprise", value=1), "surprise: unknown field"),
        (put("strategy", "warp", value=1), "strategy.warp: unknown field"),
        (put("schema", value="automl-transfer/recipe/99"), "a newer automl-transfer wrote it, so upgrade this one"),
        (put("training", "batch", value="64"), "training.batch: input should be a valid integer, got '64'"),
        (put("strategy", "class_weights", value=1), "strategy.class_weights: input should be a valid boolean, got 1"),
        (put("task", "classes", value="0123456789"), "task.classes: input should be a valid array"),
        (put("strategy", "freeze_depth", value=9), "strategy.freeze_depth: input should be less than or equal to 8, got 9"),
        (put("strategy", "truncation", value=0), "strategy.truncation: input should be greater than or equal to 1, got 0"),
        (put("strategy", "transfer_depth", value=-1), "strategy.transfer_depth: input should be greater than or equal to 0"),
        (put("strategy", "transfer_depth", value=2.5), "strategy.transfer_depth: input should be a valid integer"),
        (put("task", "name", value="/etc/passwd"), "task.name must be a name, not a path or an address, got '/etc/passwd'"),
        (put("task", "name", value="../digits"), "task.name must be a name, not a path"),
        (put("provenance", "study", value="postgresql://a:b@host/db"), "provenance.study must be a name"),
        (put("provenance", "by", value="train"), "must be null where by is train"),
        (put("provenance", "trial", value=None), "trial and root_trial must be given unless by is train"),
        (put("strategy", "rest_init", value="/tmp/init.py"), "strategy.rest_init must be a name"),
        (put("strategy", "source", value="checkpoint/timm/resnet18@/etc/passwd"), "strategy.source must be a name"),
        (put("source", "sha256", value="0" * 64), "must have the recipe's sha256 (000000000000...), got 579344248a93"),
    ],
)  # fmt: skip
def test_a_recipe_that_is_wrong(
    here: Path, capsys: pytest.CaptureFixture[str], change: Change, said: str
) -> None:
    document = json.loads(OLD.read_text())
    change(document)
    if document["strategy"]["source"] != "efficientnet-lite0":
        document["source"]["name"] = document["strategy"]["source"]
    (here / "r.json").write_text(json.dumps(document))
    assert said in refused(here, capsys, "apply", "r.json", "-o", "new")
    assert said in refused(here, capsys, "verify", "r.json")


def test_fifty_megabytes_of_nesting(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = b"[" * 25_000_000
    (here / "r.json").write_bytes(b'{"schema": ' + half + half.replace(b"[", b"]") + b"}")
    assert "must have at most 10000000 bytes, got 50000012" in refused(
        here, capsys, "apply", "r.json", "-o", "new"
    )
    (here / "r.json").write_bytes(b'{"schema": ' + b"[" * 400_000 + b"]" * 400_000 + b"}")
    assert "must nest at most 32 deep, got 400001" in refused(here, capsys, "verify", "r.json")


@pytest.mark.parametrize("kept", [("0", "1"), tuple("0123456789x")])
def test_data_without_the_recipes_classes(
    here: Path, capsys: pytest.CaptureFixture[str], kept: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(0)
    for name in kept:
        (here / "digits" / name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(
                here / "digits" / name / f"{number}.png"
            )
    (here / "r.json").write_bytes(OLD.read_bytes())
    said = "without '2', '3', '4'" if len(kept) == 2 else "with 'x'"
    error = refused(here, capsys, "verify", "r.json", "--dataset", "./digits")
    assert "the recipe's own data must have its 10 classes, got digits " + said in error
    document = json.loads(OLD.read_text())
    document["task"]["name"] = "numbers"
    (here / "digits").rename(here / "numbers")
    (here / "r.json").write_text(json.dumps(document))
    error = refused(here, capsys, "apply", "r.json", "-o", "new")  # the recipe's own data, by its name
    assert "must have its 10 classes, got numbers " + said in error


@pytest.mark.parametrize("what", ["folder", "full folder", "file", "dangling link"])
def test_an_output_that_exists_is_left_alone(
    here: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    (here / "r.json").write_bytes(OLD.read_bytes())
    new = here / "new"
    if what == "dangling link":
        new.symlink_to(here / "nowhere")
    elif what == "file":
        new.write_text("mine")
    else:
        new.mkdir()
        if what == "full folder":
            (new / "best_strategy.json").write_text("mine")
    before = sorted(here.iterdir())
    with pytest.raises(SystemExit) as ended:
        main(["apply", "r.json", "-o", "new"])
    assert ended.value.code == 2
    assert "the output must be a new folder, got new, which exists: choose another" in capsys.readouterr().err
    assert sorted(here.iterdir()) == before
    assert what != "full folder" or (new / "best_strategy.json").read_text() == "mine"


def test_a_package_that_exists_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "m.onnx").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["package", "m", "--format", "onnx", "-o", "m.onnx"])
    assert ended.value.code == 2
    assert "the output must be a new file, got m.onnx, which exists" in capsys.readouterr().err
    assert (here / "m.onnx").read_text() == "mine"
