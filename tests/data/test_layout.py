"""Which folders are classes and which are splits (FINDINGS D4): named, said, or refused, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_files import load, make_folder

from automl_transfer.data.split_names import split_of
from automl_transfer.errors import DataError

AB = ("a", "b")


def splits(root: Path, *names: str, images: int = 4) -> Path:
    return make_folder(root, {f"{name}/{label}": images for name in names for label in AB})


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("Training", "Validation", "Testing"),
        ("TRAIN", "dev", "holdout"),
        ("train_images", "valid_set", "test-set"),
        ("trainset", "eval", "hold_out"),
        ("train2017", "val2017", "test2017"),
    ],
)
def test_usual_names_of_splits(tmp_path: Path, train: str, validation: str, test: str) -> None:
    loaded = load(splits(tmp_path / "d", train, validation, test), tmp_path / "c")
    assert loaded.task.classes == AB
    assert loaded.task.splits.model_dump() == {"train": 8, "validation": 8, "test": 8}
    for split, name in zip(("train", "validation", "test"), (train, validation, test), strict=True):
        assert {loaded.keys[row].split("/")[0] for row in loaded.indices[split]} == {name}  # type: ignore[index]


@pytest.mark.parametrize("name", ["cats", "valley", "training_shoes", "test_tube", "trains", "detest", "set"])
def test_other_words_are_no_splits(name: str) -> None:
    assert split_of(name) is None


@pytest.mark.parametrize("extra", ["masks", "unlabeled2x", "cat"])
def test_splits_beside_others_are_refused_with_how_to_say_it(tmp_path: Path, extra: str) -> None:
    root = make_folder(splits(tmp_path / "d", "train", "test"), {extra: 4})
    with pytest.raises(DataError) as caught:
        load(root, tmp_path / "c")
    text = str(caught.value)
    assert f"'test', 'train' (names of splits) beside '{extra}'" in text
    assert "--split-from train=train,test=test" in text
    assert "--split-from none" in text
    assert load(root, tmp_path / "c", split_from="none").task.classes == tuple(
        sorted(["train", "test", extra])
    )
    loaded = load(root, tmp_path / "c", split_from="train=train,test=test")
    assert (loaded.task.classes, loaded.task.splits.test) == (AB, 8)
    assert loaded.task.account is not None
    assert [(each.reason, each.files) for each in loaded.task.account.left_out] == [
        ("image outside the split folders", 4)
    ]
    assert load(root, tmp_path / "c", split_from=1).task == load(root, tmp_path / "c", split_from="1").task


def test_a_split_name_beside_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'test' \\(names of splits\\) beside 'cat', 'dog'"):
        load(make_folder(tmp_path / "d", {"cat": 5, "dog": 5, "test": 9}), tmp_path / "c")


def test_splits_with_one_more_word_are_asked_for(tmp_path: Path) -> None:
    root = splits(tmp_path / "d", "seg_train", "seg_test")
    with pytest.raises(DataError, match="--split-from train=seg_train,test=seg_test"):
        load(root, tmp_path / "c")
    loaded = load(root, tmp_path / "c", split_from=r"^seg_(\w+)/", classes_from=2)
    assert loaded.task.splits.test == 8
    assert loaded.task == load(root, tmp_path / "c", split_from="train=seg_train,test=seg_test").task


def test_splits_without_one_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must have one to train on, got 'test', 'val'"):
        load(splits(tmp_path / "d", "val", "test"), tmp_path / "c")


def test_tables_of_labels_are_pointed_at(tmp_path: Path) -> None:
    """D4: train_images + test_images beside a CSV became two classes."""
    root = make_folder(tmp_path / "d", {"train_images": 5, "test_images": 5})
    (root / "train.csv").write_text("file,label\n")
    with pytest.raises(
        DataError, match=r"one subfolder a class.*where 'train.csv' has the labels, name that file"
    ):
        load(root, tmp_path / "c")


@pytest.mark.parametrize("copy", ["d", "d/d", "cat/backup"])
def test_a_second_copy_of_the_dataset_is_refused(tmp_path: Path, copy: str) -> None:
    counts = {"cat": 4, "dog": 4, f"{copy}/cat": 4, f"{copy}/dog": 4}
    root = make_folder(tmp_path / "d", counts)
    with pytest.raises(DataError, match=f"'cat', 'dog' in 'd' and again below '{copy}'"):
        load(root, tmp_path / "c")
    top = copy.split("/")[0]
    assert load(root, tmp_path / "c", classes_from=1).task.classes == tuple(sorted({"cat", "dog", top}))


def test_a_second_copy_within_a_split_is_refused(tmp_path: Path) -> None:
    root = splits(tmp_path / "d", "train", "test", "train/train")
    with pytest.raises(DataError, match="again below 'train/train'"):
        load(root, tmp_path / "c")


def test_splits_below_the_classes_are_asked_for(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {f"{a}/{s}": 4 for a in AB for s in ("train", "test")})
    with pytest.raises(DataError, match="'test', 'train' below each class of 'd'"):
        load(root, tmp_path / "c")
    said = load(root, tmp_path / "c", split_from=2)
    assert (said.task.classes, said.task.splits.test) == (AB, 8)
    assert load(root, tmp_path / "c", split_from="none").task.splits.test == 4


def test_classes_from_a_deeper_folder_and_from_names(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"2019/cat": 4, "2019/dog": 4, "2020/cat": 3, "2020/dog": 3})
    assert load(root, tmp_path / "c").task.classes == ("2019", "2020")
    assert load(root, tmp_path / "c", classes_from=2).task.classes == ("cat", "dog")
    flat = make_folder(tmp_path / "flat", {".": 6})
    for number in range(3):
        (flat / f"00{number}.png").rename(flat / f"cat.{number}.png")
    for number in range(3, 6):
        (flat / f"00{number}.png").rename(flat / f"dog.{number}.png")
    assert load(flat, tmp_path / "c", classes_from=r"^(\w+)\.").task.classes == ("cat", "dog")


def test_a_file_that_the_pattern_does_not_match_is_refused_or_counted(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"cat_1": 4, "dog_1": 4, "odd": 1})
    with pytest.raises(DataError, match="1 image outside the class folders"):
        load(root, tmp_path / "c", classes_from=r"^(\w+)_")
    loaded = load(root, tmp_path / "c", classes_from=r"^(\w+)_", on_bad_image="skip")
    assert loaded.task.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classes_from": "(a"}, "number of a folder or a regular expression"),
        ({"classes_from": "a"}, "exactly one capture group"),
        ({"classes_from": "(zebra)"}, "must match names of images"),
        ({"split_from": "(zebra)"}, "must match names of images"),
        ({"split_from": 1}, "must lead to names of splits"),
        ({"split_from": "train=nowhere"}, "must name top folders that hold images"),
        ({"split_from": "test=cat"}, "must name a folder to train on"),
        ({"split_from": "train=cat,train=dog"}, "each split and folder once"),
        ({"split_from": "train=cat,oops"}, "each split and folder once"),
    ],
)
def test_wrong_options(tmp_path: Path, given: dict[str, object], message: str) -> None:
    root = make_folder(tmp_path / "d", {"cat": 4, "dog": 4})
    with pytest.raises(DataError, match=message):
        load(root, tmp_path / "c", **given)


def test_options_of_folders_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split_from works with folders of images"):
        load("digits", tmp_path / "c", split_from="none")


@pytest.mark.parametrize("name", ["unlabelled", "Unlabeled_images"])
@pytest.mark.parametrize("layout", ["classes", "splits", "said"])
def test_images_without_a_label_are_for_preparations_only(tmp_path: Path, layout: str, name: str) -> None:
    if layout == "classes":
        root = make_folder(tmp_path / "d", {"a": 9, "b": 9})
    else:
        root = splits(tmp_path / "d", "train", "test", images=9)
    before = load(root, tmp_path / "c")
    make_folder(root, {name: 3, f"{name}/a": 4})
    (root / name / "broken.png").write_bytes(b"no image")
    loaded = load(root, tmp_path / "c", split_from="train=train,test=test" if layout == "said" else None)
    assert loaded.task.classes == AB
    assert (loaded.keys, loaded.task.fingerprint) == (before.keys, before.task.fingerprint)
    assert loaded.task.account is not None
    assert [(each.reason, each.files) for each in loaded.task.account.left_out] == [
        ("image without a label, for preparations", 8)
    ]
    assert loaded.unlabelled.listed == 8
    assert loaded.unlabelled.load().shape == (7, *loaded.images.shape[1:])
    assert loaded.unlabelled.load() is loaded.unlabelled.load()


def test_a_class_that_is_called_unlabelled_is_said(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": 9, "b": 9, "unlabelled": 9})
    loaded = load(root, tmp_path / "c", split_from="none")
    assert loaded.task.classes == ("a", "b", "unlabelled")
    assert loaded.unlabelled.listed == 0
    assert load(root, tmp_path / "c").task.classes == AB
