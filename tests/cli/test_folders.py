"""Folders as people have them, at the command line: what is said, refused, shipped, and done again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import forge
import numpy as np
import pytest
from PIL import Image

from automl_transfer.api.rerun import task_of
from automl_transfer.api.verifying import verify
from automl_transfer.recipes.best_strategy import read_recipe
from automl_transfer.search.workbench import Workbench
from automl_transfer.space.study_file import study_spec
from automl_transfer.store.store import Store
from automl_transfer.store.url import resolve_storage

TINY = ("--trials", "1", "--set", "search.max_epochs=1", "--confirm", "off", "--device", "cpu")


def run(*arguments: str | Path, cwd: Path, cache: bool = True) -> subprocess.CompletedProcess[str]:
    place = ("--cache", str(cwd.parent / "cache")) if cache else ()
    return subprocess.run(
        [forge.command(), *map(str, arguments), *place],
        cwd=cwd, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300"},
    )  # fmt: skip


def images(root: Path, counts: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8) + np.uint8(50 * label)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, a rare one, a photograph from a telephone, a list, and a broken file."""
    folder = images(tmp_path_factory.mktemp("folders") / "photos", {"cat": 8, "dog": 8, "emu": 2})
    (folder / "cat" / "IMG.HEIC").write_bytes(b"x")
    (folder / "cat" / "bad.png").write_bytes(b"x")
    (folder / "names.csv").touch()
    return folder


SAID = ("--rare-classes", "drop", "--on-bad-image", "skip")


@pytest.fixture(scope="module")
def searched(photos: Path) -> subprocess.CompletedProcess[str]:
    """D11: `search .` in the folder itself; the results lie in it, and are no images the next time."""
    done = run("search", ".", *SAID, *TINY, cwd=photos)
    assert done.returncode == 0, done.stderr
    return done


def test_what_was_left_out_stands_everywhere(
    photos: Path, searched: subprocess.CompletedProcess[str]
) -> None:
    """D4, D13: in the terminal, the ranking, the recipe and the page."""
    counted = "5 of 21 files are left out, 16 images are used"
    assert searched.stdout.count(counted) == 2  # when the search begins, and with the answer
    assert "- 1 image of a format that is not opened (.heic): 'cat/IMG.HEIC'" in searched.stdout
    assert "rare classes are left out: 'emu (2)'" in searched.stdout
    results = photos / "runs" / "photos-quick"
    assert [path.name for path in (photos / "runs").iterdir() if path.is_dir()] == ["photos-quick"]
    account = json.loads((results / "ranking.json").read_text())["task"]["account"]
    assert (account["seen"], account["used"]) == (21, 16)
    task = json.loads((results / "best_strategy.json").read_text())["task"]
    assert task["files"] == {
        "seen": 21,
        "used": 16,
        "left_out": {
            "file that is no image": 1,
            "image of a format that is not opened": 1,
            "image that cannot be read": 1,
            "image of a rare class": 2,
        },
    }
    assert "IMG.HEIC" not in (results / "best_strategy.json").read_text()
    page = (results / "report.html").read_text()
    assert "What became of the files" in page
    assert counted in page
    assert "cat/IMG.HEIC" in page


def test_verify_reads_the_folder_as_the_search_did(photos: Path, searched: object) -> None:
    recipe = photos / "runs" / "photos-quick" / "best_strategy.json"
    assert json.loads(recipe.read_text())["task"]["reading"]["rare_classes"] == "drop"
    done = run("verify", recipe, "--dataset", photos, "--on-bad-image", "skip", cwd=photos.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical")


def test_verify_takes_a_copy_of_any_name(photos: Path, searched: object, tmp_path: Path) -> None:
    """How the search read the images was forgotten where their folder had another name, or was `.`."""
    recipe = photos / "runs" / "photos-quick" / "best_strategy.json"
    copy = tmp_path / "of photos, 2024"
    shutil.copytree(photos, copy, ignore=shutil.ignore_patterns("runs"))
    done = run("verify", recipe, "--dataset", ".", "--on-bad-image", "skip", cwd=copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical")
    # From Python too, where a name is given.
    assert verify(recipe, str(copy), device="cpu", cache_root=photos.parent / "cache").word != "outside"


def test_apply_says_where_other_images_have_the_name_of_the_recipes_own(
    photos: Path, searched: object, tmp_path: Path
) -> None:
    recipe = photos / "runs" / "photos-quick" / "best_strategy.json"
    images(tmp_path / "new" / "photos", {"elk": 6, "fox": 6})
    (tmp_path / "creatures").symlink_to(tmp_path / "new" / "photos")
    for name, warned in (("new/photos", True), ("creatures", False)):
        output = f"of {Path(name).name}"
        done = run("apply", recipe, "--dataset", name, "-o", output, "--device", "cpu", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("have the name of the recipe's own" in done.stderr) is warned, done.stderr


def test_a_worker_sees_the_same_data(photos: Path, searched: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the folder as the study says, now with the first search's results in it."""
    monkeypatch.chdir(photos)
    url = resolve_storage("sqlite:///runs/automl-transfer.db", None, "")
    with Store.open(url) as store:
        bench = Workbench.open(store.study("photos-quick"), device="cpu", cache_root=photos.parent / "cache")
    assert bench.task.task.classes == ("cat", "dog")
    assert bench.task.task.account is not None
    assert "file of a system or file server" in [each.reason for each in bench.task.task.account.left_out]


def test_explore_describes_what_search_refuses(photos: Path, searched: object) -> None:
    done = run("explore", photos, cwd=photos)
    assert done.returncode == 0
    assert "emu 2 0 0" in " ".join(done.stdout.split())
    assert done.stdout.count("a search would refuse this:") == 2
    assert run("search", photos, cwd=photos).returncode == 2


def test_explore_describes_folders_that_make_no_task(tmp_path: Path) -> None:
    root = images(tmp_path / "d", {"train/a": 3, "train/b": 3, "masks": 2})
    done = run("explore", "d", "--sheet", "s.png", cwd=tmp_path)
    assert done.returncode == 0
    assert "d: 8 images, which make no task as they lie" in done.stdout
    assert "--split-from train=train" in done.stdout
    assert done.stderr == "--sheet left out: there is no task to show\n"
    assert not (tmp_path / "s.png").exists()
    done = run("explore", "d", "--figure", "f.html", "--profile", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["task"] is None
    assert done.stderr == "--figure, --profile left out: there is no task to show\n"
    assert not (tmp_path / "f.html").exists()
    done = run("explore", root, "--split-from", "(", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_other_data_are_read_in_their_own_way(photos: Path, searched: object) -> None:
    recipe = read_recipe(photos / "runs" / "photos-quick" / "best_strategy.json")
    assert task_of(recipe, "elsewhere/photos").rare_classes == "drop"  # the same data, wherever they lie
    other = task_of(recipe, "elsewhere/other", split_from="none", min_per_class=3)
    assert (other.rare_classes, other.split_from, other.min_per_class) == ("refuse", "none", 3)


@pytest.mark.parametrize(("written", "name"), [("..", "outer"), ("../.hidden", "hidden")])
def test_results_are_never_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, name: str
) -> None:
    """D11: `search .` wrote to `runs/.-quick`."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "outer" / "inner")
    assert study_spec(written, "quick", ()).name == f"{name}-quick"


def test_verify_needs_to_be_told_only_where_the_images_lie(tmp_path: Path) -> None:
    """D5, D13: columns, groups and --on-bad-image of a search stand in its recipe."""
    images(tmp_path / "photos", {"cat": 8, "dog": 8})
    rows = [f"{path.relative_to(tmp_path / 'photos')},{path.parent.name},p{number // 2}" for number, path in
            enumerate(sorted((tmp_path / "photos").glob("*/*")))]  # fmt: skip
    (tmp_path / "labels.csv").write_text("\n".join(["img,species,who", *rows, "gone.png,cat,p0", ""]))
    columns = ("--columns", "file=img,label=species,group=who")
    budget = ("--set", "search.trials=1", "--confirm", "off", "--on-bad-image", "skip")
    done = run("search", "labels.csv", "--images", "photos", *columns, *budget, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recipe = tmp_path / "runs/labels.csv-quick/best_strategy.json"
    done = run("verify", recipe, "--images", "photos", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical")
    done = run("verify", recipe, "--images", tmp_path / "photos", cwd=tmp_path / "photos")
    assert done.returncode == 2
    assert "the recipe's own data are named 'labels.csv', and nothing of that name is here" in done.stderr
