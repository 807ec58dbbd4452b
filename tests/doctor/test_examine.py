"""A folder with faults of every kind: what the doctor says, writes, and what its list does."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import forge
import numpy as np
import pytest
from image_files import load, make_folder, noise
from jsonschema import Draft202012Validator
from PIL import Image

from automl_transfer.api.examining import examine
from automl_transfer.doctor.findings import Diagnosis

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that brightness tells apart, in split folders, with a fault of every kind."""
    root = tmp_path_factory.mktemp("doctor") / "photos"
    random = np.random.default_rng(0)
    for split, count in zip(SPLITS, (30, 12, 12), strict=True):
        for label, name in enumerate(("dark", "light")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 110, (24, 24, 3), dtype=np.uint8) + np.uint8(120 * label)
                # Light images are JPEG files of a camera: formats and metadata tell the label.
                path = root / split / name / f"{number}.{'jpg' if label else 'png'}"
                exif = Image.Exif()
                exif[271] = "Maker"
                Image.fromarray(pixels).save(path, **({"exif": exif, "quality": 95} if label else {}))
    shutil.copy(root / "test/dark/0.png", root / "train/dark/leak.png")
    shutil.copy(root / "test/dark/1.png", root / "validation/dark/leak.png")
    shutil.copy(root / "train/dark/3.png", root / "train/light/both.png")
    Image.new("RGB", (24, 24), (9, 9, 9)).save(root / "train/dark/blank.png")
    (root / "train/dark/empty.png").write_bytes(b"")
    for name, label in (("dark", "light"), ("light", "dark")):
        found = min((root / "train" / name).glob("2?.*"))
        found.rename(root / "train" / label / f"wrong{found.suffix}")
    return root


@pytest.fixture(scope="module")
def told(root: Path) -> tuple[Diagnosis, Path]:
    folder = root.parent / "doctor folder"
    found = examine(root, output=folder, cache_root=root.parent / "cache", device="cpu")
    return found, folder


def test_each_fault_is_found_and_says_how_far_to_believe_it(told: tuple[Diagnosis, Path]) -> None:
    found, _ = told
    by_title = {each.title: {s.image for s in each.suspects} for each in found.findings}
    assert by_title["Copies across splits"] == {"train/dark/leak.png", "validation/dark/leak.png"}
    assert by_title["Copies with different labels"] == {"train/dark/3.png", "train/light/both.png"}
    assert by_title["Blank images"] == {"train/dark/blank.png"}
    assert by_title["Files that cannot be used"] == {"train/dark/empty.png"}
    assert by_title["Wrong labels"] >= {"train/light/wrong.png", "train/dark/wrong.jpg"}
    assert len(by_title["Wrong labels"]) <= 4
    assert {"Formats tell the label", "Metadata tell the label"} <= set(by_title)
    assert "Sizes tell the label" not in by_title
    assert all(each.reliability for each in found.findings)
    assert [each.weight for each in found.findings] == sorted(
        (each.weight for each in found.findings), key=["grave", "look", "note"].index
    )
    assert not [each.skipped for each in found.checks if each.skipped]


def test_the_list_takes_out_what_was_found_and_leaves_the_rest(
    root: Path, told: tuple[Diagnosis, Path]
) -> None:
    _, folder = told
    options = {"on_bad_image": "skip"}
    before = load(root, root.parent / "cache", **options)
    after = load(root, root.parent / "cache", exclude=str(folder / "exclude.csv"), **options)

    def names(task: object, split: str) -> set[str]:
        return {task.keys[row] for row in task.indices[split]}  # type: ignore[attr-defined]

    gone = names(before, "train") - names(after, "train")
    assert gone >= {"train/dark/leak.png", "train/dark/3.png", "train/light/both.png", "train/dark/blank.png",
                    "train/light/wrong.png", "train/dark/wrong.jpg"}  # fmt: skip
    assert len(gone) <= 8
    assert names(before, "validation") - names(after, "validation") == {"validation/dark/leak.png"}
    assert names(after, "test") == names(before, "test")
    soft = load(root, root.parent / "cache", exclude=str(folder / "weights.csv"), **options)
    assert soft.task.excluded is not None
    assert soft.task.excluded.weighted >= 1
    with (folder / "groups.csv").open() as stream:
        groups = {row["file"]: row["group"] for row in csv.DictReader(stream)}
    assert groups["train/dark/leak.png"] == groups["test/dark/0.png"]
    assert len(groups) == len(before.keys) + 1  # the unreadable one, too
    mixed = load(root, root.parent / "cache", split_from="none", classes_from=2,
                 group_from=str(folder / "groups.csv"), **options)  # fmt: skip
    inside = [split for split in SPLITS if names(mixed, split) & {"train/dark/leak.png", "test/dark/0.png"}]
    assert len(inside) == 1


def test_no_list_holds_a_formula_whatever_the_images_are_called(tmp_path: Path) -> None:
    """Whoever makes the images chooses their names, and whoever looks at the list opens it in a spreadsheet."""
    both = ("=HYPERLINK(1)/000.png", "+1/copy.png")
    root = make_folder(tmp_path / "d", {"=HYPERLINK(1)": 12})
    (root / "+1").mkdir()
    for number in range(12):
        Image.fromarray(np.array(noise(99 + number)) // 4).save(root / "+1" / f"{number}.png")
    shutil.copy(root / both[0], root / both[1])
    found = examine(root, output=tmp_path / "seen", cache_root=tmp_path / "c", device="cpu")
    exclude, groups = (tmp_path / "seen" / name for name in ("exclude.csv", "groups.csv"))
    for path in (exclude, groups):
        with path.open(newline="") as stream:
            assert not [cell for row in csv.reader(stream) for cell in row if cell.startswith(("=", "+"))]
    task = load(root, tmp_path / "c", exclude=str(exclude), group_from=str(groups))
    assert task.weights is not None
    assert task.groups is not None
    gone = {key for key, weight in zip(task.keys, task.weights, strict=True) if weight == 0.0}
    assert gone == {each.image for each in found.exclusions()} >= set(both)
    assert len({task.groups[task.keys.index(key)] for key in both}) == 1


def test_json_is_as_published_and_the_page_is_whole(told: tuple[Diagnosis, Path], chromium: Any) -> None:
    found, folder = told
    value = json.loads((folder / "doctor.json").read_text())
    published = json.loads((ROOT / "docs/schemas/doctor-1.json").read_text())
    Draft202012Validator.check_schema(published)
    Draft202012Validator(published).validate(value)
    assert Diagnosis.model_validate(value) == found
    page = chromium.new_context(offline=True).new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto((folder / "doctor.html").as_uri())
    assert page.locator("section").count() == len(found.findings) + 1
    broken = "() => [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert page.locator("img").count() >= 10
    assert "train/dark/leak.png" in page.locator("#finding-1").inner_text()
    assert troubles == []


def test_at_the_command_line(root: Path, tmp_path: Path) -> None:
    """The look, a search that says in one line what it saw, and the recipe that keeps what was left out."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [forge.command(), *arguments, "--cache", str(root.parent / "cache")], cwd=tmp_path,
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        )  # fmt: skip

    done = run("explore", str(root), "--doctor", "-o", "seen", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "grave: Copies across splits (2)." in done.stdout
    assert "search ... --exclude seen/exclude.csv" in done.stdout
    tiny = ("--trials", "1", "--set", "search.max_epochs=1", "--confirm", "off", "--device", "cpu",
            "--on-bad-image", "skip", "--set", "search.profile=false")  # fmt: skip
    done = run("search", str(root), *tiny, "--exclude", "seen/exclude.csv", "-o", "out")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("data doctor:")]
    assert "Files that cannot be used (1)" in line
    assert "Copies" not in line  # the list took them out
    task = json.loads((tmp_path / "out/best_strategy.json").read_text())["task"]
    assert task["excluded"]["everything"] == 1
    assert task["excluded"]["training"] >= 6
    assert task["files"]["left_out"]["image that the list of exclusions leaves out"] >= 7
    assert "exclude.csv" not in json.dumps(task)  # where a list lies is nobody's business
    assert "weights" not in task
    done = run("verify", "out/best_strategy.json", "--dataset", str(root), "--on-bad-image", "skip")
    assert done.returncode == 2
    assert "the list of --exclude" in done.stderr
    done = run("verify", "out/best_strategy.json", "--dataset", str(root), "--on-bad-image", "skip",
               "--exclude", "seen/exclude.csv")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical")
    for wrong, rule in (
        (("explore", str(root), "-o", "x"), "--output is of --doctor"),
        (("explore", str(root), "--doctor", "--sheet", "x.png"), "give them apart"),
        (("explore", str(root), "--doctor", "-o", str(root / "x")), "must lie outside the dataset's folder"),
    ):
        done = run(*wrong)
        assert done.returncode == 2
        assert rule in done.stderr


def test_a_sound_dataset_has_no_cheap_finding(tmp_path: Path) -> None:
    from automl_transfer.data.task import load_with_details
    from automl_transfer.doctor.examine import examine as examine_details
    from automl_transfer.domain.spec import TaskSpec

    sound = make_folder(tmp_path / "d", {"cat": 10, "dog": 10})
    for number in range(20):  # without red
        pixels = np.array(noise(99 + number))
        pixels[:, :, 0] = 7
        (tmp_path / "e" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "e" / str(number % 2) / f"{number}.png")
    lines = []
    for root in (sound, tmp_path / "e"):
        details = load_with_details(
            TaskSpec(dataset=str(root)), data_root=None, cache_root=tmp_path / "c", progress=None
        )
        lines.append(examine_details(details).line())
    assert lines == ["", "Constant channels: red"]
