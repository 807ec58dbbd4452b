"""Folders of images as people have them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from image_files import load, make_folder, noise
from PIL import Image

from automl_transfer.domain.task import SPLITS
from automl_transfer.errors import DataError

PETS = {"cat": 10, "dog": 10}


def test_names_in_german_and_chinese_with_spaces(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "Größe 大小", {"Äpfel und Birnen": 5, "猫 的图片": 5})
    loaded = load(root, tmp_path / "cache dir ü")
    assert loaded.task.name == "Größe 大小"
    assert loaded.task.classes == ("Äpfel und Birnen", "猫 的图片")
    assert loaded.keys[0] == "Äpfel und Birnen/000.png"


def test_both_unicode_spellings_give_the_same_task(tmp_path: Path) -> None:
    tasks = [
        load(
            make_folder(tmp_path / form / "d", {unicodedata.normalize(form, "Hähne"): 5, "z": 5}),
            tmp_path / "c",
        ).task
        for form in ("NFC", "NFD")
    ]
    assert tasks[0] == tasks[1]


def test_fingerprint_does_not_depend_on_the_place(tmp_path: Path) -> None:
    one = load(make_folder(tmp_path / "a" / "pets", PETS), tmp_path / "cache")
    two = load(make_folder(tmp_path / "b" / "animals", PETS), tmp_path / "cache")
    assert one.task.fingerprint == two.task.fingerprint
    assert (one.task.name, two.task.name) == ("pets", "animals")
    noise(999).save(tmp_path / "b" / "animals" / "cat" / "003.png")
    changed = load(tmp_path / "b" / "animals", tmp_path / "cache")
    assert changed.task.fingerprint != two.task.fingerprint


def test_name_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_folder(tmp_path / "pets", PETS))
    assert load(".", tmp_path / "cache").task.name == "pets"


def test_few_image_version_of_a_folder(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "pets", {"cat": 30, "dog": 20})
    whole, few = load(root, tmp_path / "c"), load(f"{root}?per_class=3", tmp_path / "c")
    assert few.task.name == "pets?per_class=3"
    assert few.task.splits.model_dump() == {"train": 6, "validation": 6, "test": 10}
    assert np.array_equal(few.indices["test"], whole.indices["test"])
    assert few.task.fingerprint != whole.task.fingerprint


def test_a_folder_name_with_a_question_mark(tmp_path: Path) -> None:
    assert load(make_folder(tmp_path / "what?now=1", PETS), tmp_path / "c").task.name == "what?now=1"


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "VAL"])
def test_declared_splits(tmp_path: Path, validation: str) -> None:
    counts = {
        f"{split}/{c}": n for split, n in (("train", 5), (validation, 2), ("test", 3)) for c in ("a", "b")
    }
    loaded = load(make_folder(tmp_path / "d", counts), tmp_path / "c")
    assert loaded.task.classes == ("a", "b")
    assert loaded.task.splits.model_dump() == {"train": 10, "validation": 4, "test": 6}
    assert all(loaded.keys[row].startswith("test/") for row in loaded.indices["test"])


def test_train_may_be_a_class(tmp_path: Path) -> None:
    loaded = load(make_folder(tmp_path / "vehicles", {"train": 5, "car": 5}), tmp_path / "c")
    assert loaded.task.classes == ("car", "train")


def test_class_missing_in_a_declared_split(tmp_path: Path) -> None:
    counts = {"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2, "test/a": 2}
    with pytest.raises(DataError, match="test has no image of 'b'"):
        load(make_folder(tmp_path / "d", counts), tmp_path / "c")
    with pytest.raises(DataError, match="validation has no image of 'b'"):
        load(make_folder(tmp_path / "e", {"train/a": 4, "train/b": 4, "val/a": 2}), tmp_path / "c")


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one folder, got several for validation"):
        load(make_folder(tmp_path / "d", {"train/a": 3, "val/a": 3, "valid/a": 3}), tmp_path / "c")


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "d" / "cat").mkdir(parents=True)
    (tmp_path / "d" / "cat" / "Thumbs.db").touch()
    with pytest.raises(DataError, match="got no image below 'd'"):
        load(tmp_path / "d", tmp_path / "c")


def test_images_without_class_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one subfolder a class, got images directly in 'd': '000\.png'"):
        load(make_folder(tmp_path / "d", {".": 4}), tmp_path / "c")
    with pytest.raises(DataError, match="one subfolder a class"):
        load(make_folder(tmp_path / "e", {"train": 4, "val": 4}), tmp_path / "c")


def test_one_class_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least two classes, got 1 \('cat'\)"):
        load(make_folder(tmp_path / "d", {"cat": 5}), tmp_path / "c")


def test_class_with_one_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least 3 images.*'dog \(1\)'"):
        load(make_folder(tmp_path / "d", {"cat": 5, "dog": 1}), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def spoil(root: Path) -> None:
    whole = (root / "cat" / "001.png").read_bytes()
    (root / "cat" / "abgeschnitten ä.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "空.jpg").write_bytes(b"")
    (root / "dog" / "gone.png").symlink_to(root / "nowhere.png")
    noise(5).save(root / "preview.png")


def test_unreadable_images_are_refused_by_name(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "pets", PETS)
    spoil(root)
    with pytest.raises(DataError) as caught:
        load(root, tmp_path / "c")
    text = str(caught.value)
    assert "got 4 of 24 in pets that are not" in text
    for name in (
        "cat/abgeschnitten ä.png: ",
        "dog/空.jpg: ",
        "dog/gone.png: No such file",
        "preview.png: lies",
    ):
        assert name in text
    assert "skip" in text


def test_unreadable_images_are_skipped_and_reported(tmp_path: Path) -> None:
    clean = load(make_folder(tmp_path / "clean", PETS), tmp_path / "c")
    root = make_folder(tmp_path / "pets", PETS)
    spoil(root)
    for _ in range(2):  # decoded, then from the cache
        loaded = load(root, tmp_path / "c", on_bad_image="skip")
        assert {bad.key for bad in loaded.skipped} == {
            "preview.png",
            "cat/abgeschnitten ä.png",
            "dog/空.jpg",
            "dog/gone.png",
        }
        assert loaded.keys == clean.keys
        assert np.array_equal(loaded.images, clean.images)
        assert loaded.task.fingerprint == clean.task.fingerprint
    with pytest.raises(DataError, match="got 4 of 24"):
        load(root, tmp_path / "c")


def test_only_unreadable_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "d" / name / f"{number}.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"must have readable images, got 6 unreadable ones: a/0\.png"):
        load(tmp_path / "d", tmp_path / "c", on_bad_image="skip")
    assert not list((tmp_path / "c").rglob("images.npy"))


def test_class_that_loses_its_images_by_skipping(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"cat": 6, "dog": 3})
    (root / "dog" / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"'dog \(2\)'"):
        load(root, tmp_path / "c", on_bad_image="skip")


def test_many_unreadable_images_are_counted(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", PETS)
    for number in range(30):
        (root / "cat" / f"bad{number:02d}.png").write_bytes(b"x")
    with pytest.raises(DataError, match="and 10 more") as caught:
        load(root, tmp_path / "c")
    assert str(caught.value).count("\n") == 21


def test_gray_folders_stay_gray(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", PETS, channels=1)
    assert load(root, tmp_path / "c").task.channels == 1
    assert load(root, tmp_path / "c", channels=3).task.channels == 3
    noise(0).save(root / "cat" / "000.png")
    assert load(root, tmp_path / "c").task.channels == 3


@pytest.mark.parametrize(("side", "resolution"), [(10, 32), (60, 64), (100, 96), (500, 224)])
def test_default_resolution_is_near_the_median_side(tmp_path: Path, side: int, resolution: int) -> None:
    root = make_folder(tmp_path / "d", {"a": 3, "b": 3}, side=side)
    assert load(root, tmp_path / "c").task.resolution == resolution


def test_mixed_modes_in_one_folder(tmp_path: Path) -> None:
    root = tmp_path / "d"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number, mode in enumerate(["L", "RGB", "RGBA", "P", "1", "LA"]):
            noise(number).convert(mode).save(root / name / f"{mode}.png")
        noise(1).convert("CMYK").save(root / name / "cmyk.jpg")
        Image.fromarray(np.full((30, 40), 30000, np.uint16)).save(root / name / "deep.tif")
    loaded = load(root, tmp_path / "c")
    assert loaded.images.shape == (16, 32, 32, 3)
    assert loaded.skipped == ()


def groups_of(root: Path, cache: Path, group_from: str, group: slice) -> list[set[str]]:
    loaded = load(root, cache, group_from=group_from)
    return [{Path(loaded.keys[row]).name[group] for row in loaded.indices[split]} for split in SPLITS]


def patients(root: Path) -> Path:
    for seed in range(48):
        path = root / "ab"[seed // 4 % 2] / f"p{seed // 4:02d}_{seed % 4}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed).save(path)
    return root


def test_groups_from_file_names(tmp_path: Path) -> None:
    train, validation, test = groups_of(patients(tmp_path / "d"), tmp_path / "c", r"(p\d+)_", slice(3))
    assert len(train | validation | test) == 12
    assert len(train) + len(validation) + len(test) == 12


def test_groups_from_a_table(tmp_path: Path) -> None:
    root = patients(tmp_path / "d")
    rows = [f"{p.parent.name}/{p.name},{p.name[:3]}" for p in sorted(root.rglob("*.png"))]
    (root / "gruppen ä.csv").write_text("\ufefffile,group\n" + "\n".join(rows), encoding="utf-8")
    by_table = groups_of(root, tmp_path / "c", "gruppen ä.csv", slice(3))  # beside the images
    assert by_table == groups_of(root, tmp_path / "c", r"(p\d+)_", slice(3))


def test_a_group_is_one_however_its_name_is_typed(tmp_path: Path) -> None:
    root = patients(tmp_path / "d")
    typed = ("{}", "{} ", " {}")
    rows = [
        f"{p.parent.name}/{p.name} ," + typed[at % 3].format(p.name[:3])
        for at, p in enumerate(sorted(root.rglob("*.png")))
    ]
    (root / "typed.csv").write_text("file,group\n" + "\n".join(rows))
    assert groups_of(root, tmp_path / "c", "typed.csv", slice(3)) == groups_of(
        root, tmp_path / "c", r"(p\d+)_", slice(3)
    )


@pytest.mark.parametrize(
    ("group_from", "message"),
    [
        ("(p", "must be a regular expression or a .csv"),
        ("p", "exactly one capture group .* got 0"),
        ("(p)(.)", "got 2"),
        ("(q.)", r"must match every image, got no match .* for 48 of 48: 'a/p00_0.png'"),
        ("none.csv", "there is no such file"),
        ("short.csv", r"no row for 47 of 48 in 'short.csv'"),
        ("columns.csv", r"columns file and group, got \['name', 'patient'\]"),
        ("twice.csv", "must be in one group, got '1' and '2'"),
        ("empty.csv", r"columns file and group, got \[\]"),
        ("gaps.csv", "must have a file and a group"),
        ("comma.csv", "must have a cell a column, got 1 too many in line 2"),
        ("binary.csv", "readable UTF-8"),
    ],
)
def test_wrong_groups(tmp_path: Path, group_from: str, message: str) -> None:
    root = patients(tmp_path / "d")
    (root / "short.csv").write_text("file,group\na/p00_0.png,1\n")
    (root / "columns.csv").write_text("name,patient\nx,1\n")
    (root / "twice.csv").write_text("file,group\na/p00_0.png,1\na/p00_0.png,2\n")
    (root / "empty.csv").write_text("")
    (root / "gaps.csv").write_text("file,group\na/p00_0.png,\n")
    (root / "comma.csv").write_text("file,group\na/p00_0.png,Doe, Jane\n")
    (root / "binary.csv").write_bytes(b"file,group\n\xff\xfe\x00,1\n")
    with pytest.raises(DataError, match=message):
        load(root, tmp_path / "c", group_from=group_from)


def test_symlink_loop_in_a_dataset(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", PETS)
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    assert len(load(root, tmp_path / "c").labels) == 20
