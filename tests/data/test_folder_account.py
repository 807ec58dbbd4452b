"""Every file of a folder is used or counted (FINDINGS D4, D9, D13): nothing vanishes, the totals add up."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import load, make_folder, noise
from PIL import Image

from automl_transfer.data.base import NoTaskError
from automl_transfer.data.explore import explore
from automl_transfer.data.task import LoadedTask
from automl_transfer.data.walk import walk
from automl_transfer.domain.account import Account, Reason
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import DataError

PETS = {"cat": 6, "dog": 6}


def account(loaded: LoadedTask) -> Account:
    assert loaded.task.account is not None
    return loaded.task.account


def left_out(found: Account) -> dict[str, int]:
    return {each.reason: each.files for each in found.left_out}


def files_below(root: Path) -> int:
    """Everything that is no real folder, as the operating system lists it."""
    count = 0
    for folder, names, files in os.walk(root):
        count += len(files) + sum((Path(folder) / name).is_symlink() for name in names)
    return count


PNG = b"PNG"
NAMES = st.sampled_from(
    [
        "a.png",
        "b.JPG",
        "IMG.0001",
        "photo",
        "c.heic",
        "d.dcm",
        "notes.txt",
        ".hidden.png",
        "Thumbs.db",
        "e.csv",
    ]
)
FOLDERS = st.sampled_from(
    [
        "cat",
        "dog",
        "train",
        "Test",
        "val",
        "unlabeled",
        "@eaDir",
        "__MACOSX",
        ".git",
        "extra",
        "deep",
        "lost+found",
    ]
)
CONTENT = st.sampled_from([PNG, b"", b"nothing", b"\0\0\0\x18ftypheic"])
FILES = st.lists(st.tuples(st.lists(FOLDERS, max_size=3), NAMES, CONTENT), min_size=1, max_size=25)
LINKS = st.lists(st.tuples(FOLDERS, FOLDERS), max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES, LINKS, st.sampled_from([None, "none", "1"]))
def test_totals_add_up_whatever_lies_there(
    files: list[tuple[list[str], str, bytes]], links: list[tuple[str, str]], split_from: str | None
) -> None:
    """D4: files seen = used + each reason, for random trees with links, housekeeping and broken files."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "d"
        root.mkdir()
        for number, (parents, name, content) in enumerate(files):
            place = root.joinpath(*parents)
            place.mkdir(parents=True, exist_ok=True)
            if content == PNG:
                noise(number, 8).save(place / name, format="PNG")
            else:
                (place / name).write_bytes(content)
        for name, target in links:
            if not (root / name).exists() and not (root / name).is_symlink():
                (root / name).symlink_to(root / target)
        spec = TaskSpec(dataset=str(root), split_from=split_from, resolution=8, channels=3)
        try:
            found, _ = explore(spec, cache_root=Path(folder) / "c")
        except DataError as error:  # the only mistake here: an option that leads nowhere
            assert "split_from must lead to names of splits" in str(error)  # noqa: PT017
            return
        assert found.account.seen == files_below(root)
        assert found.account.seen == found.account.used + sum(left_out(found.account).values())
        for each in found.account.left_out:
            assert sum(each.suffixes.values()) == each.files
        if found.task is not None:
            sizes = found.task.splits
            assert found.account.used == sizes.train + sizes.validation + sizes.test
        for path in walk(root).images:
            assert not {"@eaDir", "__MACOSX", ".git", "lost+found"} & set(path.relative_to(root).parts)


def test_each_file_has_one_reason_by_suffix_and_class_with_a_sample(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", PETS)
    (root / "cat" / "@eaDir").mkdir()
    noise(77).save(root / "cat" / "@eaDir" / "thumb.jpg")
    (root / ".DS_Store").touch()
    (root / "dog" / "IMG_1.HEIC").write_bytes(b"x")
    (root / "dog" / "IMG_2.HEIC").write_bytes(b"x")
    (root / "cat" / "scan.dcm").write_bytes(b"x")
    (root / "cat" / "broken.png").write_bytes(b"x")
    (root / "readme.md").touch()
    noise(78).save(root / "preview.png")
    found = account(load(root, tmp_path / "c", on_bad_image="skip"))
    assert left_out(found) == {
        Reason.HOUSEKEEPING: 2,
        Reason.NOT_IMAGE: 1,
        Reason.UNSUPPORTED: 3,
        Reason.UNREADABLE: 1,
        Reason.OUTSIDE: 1,
    }
    (heic,) = (each for each in found.left_out if each.reason == Reason.UNSUPPORTED)
    assert heic.suffixes == {".heic": 2, ".dcm": 1}
    assert heic.classes == {"dog": 2, "cat": 1}
    assert heic.sample == ("cat/scan.dcm", "dog/IMG_1.HEIC", "dog/IMG_2.HEIC")
    assert found.used == 12
    assert "3 images of a format that is not opened (.heic 2, .dcm 1)" in "\n".join(found.lines())


def test_images_of_other_formats_are_refused_not_dropped(tmp_path: Path) -> None:
    """D4: whole classes of .HEIC were left out uncounted."""
    root = make_folder(tmp_path / "d", PETS)
    (root / "bird").mkdir()
    for number in range(4):
        (root / "bird" / f"{number}.HEIC").write_bytes(b"x")
    with pytest.raises(DataError, match=r"4 images of a format that is not opened.*--on-bad-image skip"):
        load(root, tmp_path / "c")
    (heic,) = account(load(root, tmp_path / "c", on_bad_image="skip")).left_out
    assert heic.classes == {"bird": 4}


def test_an_image_without_a_suffix_is_an_image(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", PETS)
    for name, kind in (("one", "PNG"), ("IMG.0002", "JPEG"), ("three", "WEBP"), ("four", "GIF")):
        noise(90).save(root / "cat" / name, format=kind)
    (root / "cat" / "LICENSE").write_text("words")
    found = account(load(root, tmp_path / "c"))
    assert (found.used, left_out(found)) == (16, {Reason.NOT_IMAGE: 1})


@pytest.mark.parametrize("label", ["Unlabeled", "unlabelled_images"])
def test_unlabelled_images_beside_splits_are_counted_in_one_line(tmp_path: Path, label: str) -> None:
    counts = {f"{split}/{name}": 4 for split in ("train", "test") for name in ("a", "b")}
    loaded = load(make_folder(tmp_path / "d", counts | {label: 30}), tmp_path / "c")
    assert loaded.task.classes == ("a", "b")
    assert left_out(account(loaded)) == {Reason.UNLABELLED: 30}
    assert len(account(loaded).lines()) == 2


def test_a_flat_test_folder_gives_one_line(tmp_path: Path) -> None:
    """D4: 3,000 unlabelled test images gave 3,012 lines, or a refusal."""
    root = make_folder(tmp_path / "d", {"train/a": 5, "train/b": 5, "test": 40})
    loaded = load(root, tmp_path / "c")
    assert loaded.task.splits.test == 2  # drawn from the labelled images
    assert left_out(account(loaded)) == {Reason.NO_LABEL: 40}
    assert len(account(loaded).lines()) == 2


def test_one_folder_under_two_names_is_said(tmp_path: Path) -> None:
    """D4: `val` as a link to `test` vanished, and so did the validation images."""
    counts = {f"{split}/{name}": 4 for split in ("train", "test") for name in ("a", "b")}
    root = make_folder(tmp_path / "d", counts)
    (root / "val").symlink_to("test")
    found = account(load(root, tmp_path / "c"))
    assert left_out(found) == {Reason.SECOND_NAME: 1}
    assert found.notes == ("'val' is another name of the folder 'test': it is left out",)


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", PETS)
    (root / "empty").mkdir()
    (root / "notes").mkdir()
    (root / "notes" / "a.txt").touch()
    (note,) = account(load(root, tmp_path / "c")).notes
    assert note == "no image lies in 'empty', 'notes' of 'd': neither class nor split"


def deep_folder(place: Path) -> None:
    """A folder whose path is too long to be listed: nobody may list it, root neither."""
    here = os.open(place, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=here)
        inner = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_a_folder_that_cannot_be_listed_is_counted_and_may_be_skipped(tmp_path: Path) -> None:
    """D4: it refused everything, `--on-bad-image skip` included."""
    root = make_folder(tmp_path / "d", PETS)
    deep_folder(root / "cat")
    with pytest.raises(DataError, match=r"1 folder that cannot be listed.*--on-bad-image skip"):
        load(root, tmp_path / "c")
    found = account(load(root, tmp_path / "c", on_bad_image="skip"))
    assert left_out(found) == {Reason.UNLISTED: 1}
    assert found.used == 12


def test_lost_and_found_is_housekeeping_even_where_it_cannot_be_listed(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", PETS)
    (root / "lost+found").mkdir()
    deep_folder(root / "lost+found")
    assert left_out(account(load(root, tmp_path / "c"))) == {Reason.HOUSEKEEPING: 1}


def test_results_within_the_dataset_are_no_images(tmp_path: Path) -> None:
    """D11: `search .` writes pictures below `runs/`; they were a class the next time."""
    root = make_folder(tmp_path / "d", PETS)
    make_folder(root / "runs", {"pets-quick/artifacts": 3, "elsewhere": 2})
    (root / "runs" / "pets-quick" / "run.json").write_text(
        '{"schema": "automl-transfer/run/1", "study": "p"}'
    )
    with pytest.raises(DataError, match="at least 3 images"):
        load(root, tmp_path / "c")  # two images are no results of ours
    (root / "runs" / "automl-transfer.db").touch()
    loaded = load(root, tmp_path / "c")
    assert loaded.task.classes == ("cat", "dog")
    assert left_out(account(loaded)) == {Reason.HOUSEKEEPING: 7}


def test_odd_images_are_said(tmp_path: Path) -> None:
    """D9: blank ones, extreme shapes, several frames, duplicates with different labels were silent."""
    root = make_folder(tmp_path / "d", PETS)
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(root / "dog" / "blank.png")
    noise(60).resize((1, 400)).save(root / "cat" / "long.png")
    noise(61).save(root / "dog" / "film.gif", save_all=True, append_images=[noise(62)])
    noise(0).save(root / "dog" / "same.png")
    for _ in range(2):  # decoded, then from the cache
        said = [each.describe() for each in account(load(root, tmp_path / "c")).oddities]
        assert "1 image of one colour only (transparency becomes white): 'dog/blank.png'" in said
        assert "1 image more than 8 times as long as wide, squashed to a square: 'cat/long.png'" in said
        assert any(text.startswith("1 image from a file of several frames") for text in said)
        assert any("under another label: 'cat/000.png', 'dog/same.png'" in text for text in said)


def test_skipping_most_images_is_said_and_nearly_all_is_refused(tmp_path: Path) -> None:
    """D13: three quarters were left out without a word."""
    root = make_folder(tmp_path / "d", PETS)
    for number in range(18):
        (root / "cat" / f"bad{number}.png").write_bytes(b"x")
    found = account(load(root, tmp_path / "c", on_bad_image="skip"))
    assert "and most images cannot be used" in found.summary
    assert found.unusable == 18
    for number in range(100):
        (root / "dog" / f"bad{number}.png").write_bytes(b"x")
    with pytest.raises(DataError, match="nearly all images of a dataset must be usable, got 118 of 130"):
        load(root, tmp_path / "c", on_bad_image="skip")


def test_files_of_a_folder_without_images_are_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "d" / "cat").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "d" / "cat" / f"{number}.heic").write_bytes(b"x")
    with pytest.raises(NoTaskError, match=r"there are 3 \.heic"):
        load(tmp_path / "d", tmp_path / "c")


def test_a_folder_with_the_name_of_a_dataset_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D23: `./digits` was shadowed silently."""
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "digits", PETS)
    assert account(load("digits?per_class=5", tmp_path / "c")).notes == (
        "'digits' is the dataset of this name, not the folder here: name that one './digits'",
    )
    assert account(load("./digits", tmp_path / "c")).notes == ()


def test_images_of_other_datasets_are_counted_too(tmp_path: Path) -> None:
    found = account(load("digits?per_class=5", tmp_path / "c"))
    assert (found.seen, found.used) == (1797, 459)
    assert left_out(found) == {Reason.FEW: 1797 - 459}
