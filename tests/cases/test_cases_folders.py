"""Folders as people have them (D4, D7, D8, D9, D11, D13, D23, E7): everything is counted, nothing is guessed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from case_runner import PETS, Case, all_of, check, image, images, nothing, of, written
from PIL import Image
from PIL.PngImagePlugin import PngInfo

REFUSED = "a search would refuse this:"
BROKEN = b"no image"


def link(name: str, target: str) -> object:
    return lambda place: (place / name).symlink_to(target)


def unlistable(name: str) -> object:
    """A folder that nobody may list, root neither: its path is too long."""

    def make(place: Path) -> None:
        (place / name).mkdir(parents=True)
        here = os.open(place / name, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("x" * 250, dir_fd=here)
            inner = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(here)

    return make


def broken(folder: str, count: int, suffix: str = ".png") -> object:
    return all_of(*(written(f"{folder}/bad{n}{suffix}", BROKEN) for n in range(count)))


def blank(place: Path) -> None:
    for number in range(2):
        Image.new("RGBA", (8, 8), (number, 0, 0, 0)).save(place / "d" / "cat" / f"blank{number}.png")


def odd(place: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (900, 2, 3), np.uint8)).save(
        place / "d/cat/long.png"
    )
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (9, 200)]
    frames[0].save(place / "d/dog/film.gif", save_all=True, append_images=frames[1:])
    (place / "d/dog/same.png").write_bytes((place / "d/cat/00.png").read_bytes())


def large_text(place: Path) -> None:
    text = PngInfo()
    text.add_text("Comment", "x" * 2_000_000)
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (8, 8, 3), np.uint8)).save(
        place / "d/cat/text.png", pnginfo=text
    )


def undecodable(place: Path) -> None:
    raw = os.fsencode(place / "d" / "cat")
    with open(raw + b"/\xff\xfe.png", "wb") as stream:  # noqa: PTH123  a name in bytes
        stream.write((place / "d/cat/00.png").read_bytes()[:-1] + b"\0")


def two_spellings(place: Path) -> None:
    for name in ("u\u0308.png", "\u00fc.png"):
        Image.fromarray(np.full((8, 8), len(name), np.uint8)).save(place / "d" / "cat" / name)


SPLITS = images("d", train__cat=5, train__dog=5, test__cat=3, test__dog=3)
FLAT = all_of(images("d", train_images=8, test_images=4),
              written("d/train.csv", "file,label\n" + "".join(f"{n:02d}.png,{'ab'[n % 2]}\n" for n in range(8))))  # fmt: skip
CASES = [
    Case("D4 Training and Testing are splits",
         images("d", Training__cat=5, Training__dog=5, Testing__cat=3, Testing__dog=3), "explore d",
         ("16 images in 2 classes", "/ 6 to train, validate and test")),
    Case("D4 Train and Dev", images("d", Train__cat=5, Train__dog=5, Dev__cat=3, Dev__dog=3), "explore d",
         "16 images in 2 classes; 10 / 6 / 0"),
    Case("D4 TRAIN, valid2 and a holdout-set",
         images("d", **{f"{s}__{c}": 3 for s in ("TRAIN", "valid2", "holdout-set") for c in "ab"}), "explore d",
         "18 images in 2 classes; 6 / 6 / 6"),
    Case("D4 train, test and unlabeled", all_of(SPLITS, images("d", unlabeled=9)), "explore d",
         ("16 images in 2 classes", "- 9 images without a label, for preparations (.png): 'unlabeled/00.png'")),
    Case("D4 a second copy within", all_of(PETS, images("d/cat/copy", cat=6, dog=6)), "explore d",
         (REFUSED, "looks like a second copy")),
    Case("D4 a second copy is not searched", all_of(PETS, images("d/d", cat=6, dog=6)), "search d",
         "a folder must hold each class once, got 'cat', 'dog' in 'd' and again below 'd'", 2),
    Case("D4 train_images and test_images beside a CSV", FLAT, "search d",
         ("must hold one subfolder a class, got images directly in 'd'", "where 'train.csv' has the labels, name that"), 2),
    Case("D4 and its CSV is the dataset", FLAT, "explore d/train.csv --images d/train_images",
         ("8 images in 2 classes", "labels from 'label'")),
    Case("D4 a flat unlabelled test gives one line", all_of(images("d", train__a=5, train__b=5, test=60)), "explore d",
         ("10 images in 2 classes", "- 60 images without a label"), never=("test/05.png",)),
    Case("D4 val is a link to test", all_of(SPLITS, link("d/val", "test")), "explore d",
         "'val' is another name of the folder 'test': it is left out"),
    Case("D4 a class that is a link to its own parent", all_of(PETS, link("d/cat/up", "..")), "explore d",
         ("12 images in 2 classes", "known under another name")),
    Case("D4 a link that leads nowhere", all_of(PETS, link("d/cat/gone.png", "nowhere")), "explore d",
         "12 images in 2 classes; "),
    Case("D4 whole classes of HEIC", all_of(PETS, broken("d/bird", 4, ".HEIC")), "search d",
         ("4 images of a format that is not opened", "--on-bad-image skip"), 2),
    Case("D4 HEIC, DICOM and SVG are counted by suffix",
         all_of(PETS, broken("d/cat", 2, ".HEIC"), broken("d/dog", 1, ".dcm"), broken("d/dog", 1, ".svg")),
         "explore d", ("of a format that is not opened (.heic 2, .dcm 1, .svg 1)", REFUSED)),
    Case("D4 images without a suffix", all_of(PETS, image("d/cat/IMG0001", format="JPEG")), "explore d",
         "13 images in 2 classes"),
    Case("D4 a file server's thumbnails", all_of(PETS, images("d/cat/@eaDir", a=20), image("d/dog/._01.png"),
         written("d/Thumbs.db", b"x")), "explore d",
         ("12 images in 2 classes", "22 files of a system or file server")),
    Case("D4 lost+found cannot be listed", all_of(PETS, unlistable("d/lost+found")), "explore d",
         ("12 images in 2 classes", "1 file of a system or file server"), never=(REFUSED,)),
    Case("D4 a folder that cannot be listed", all_of(PETS, unlistable("d/cat/in")), "search d",
         ("1 folder that cannot be listed", "--on-bad-image skip"), 2),
    Case("D4 it may be skipped", all_of(PETS, unlistable("d/cat/in")), "explore d --set task.on_bad_image=skip",
         ("12 images in 2 classes", "1 folder that cannot be listed"), never=(REFUSED,)),
    Case("D4 splits beside something else", all_of(SPLITS, images("d", masks=3)), "search d",
         ("must all be classes or all be splits, got 'test', 'train' (names of splits) beside 'masks'",
          "--split-from train=train,test=test"), 2),
    Case("D4 and what it advises works", all_of(SPLITS, images("d", masks=3)),
         "explore d --split-from train=train,test=test",
         ("16 images in 2 classes", "3 images outside the split folders")),
    Case("D4 seg_train and seg_test", images("d", seg_train__a=4, seg_train__b=4, seg_test__a=3, seg_test__b=3),
         "search d", "--split-from train=seg_train,test=seg_test", 2),
    Case("D4 val and valid at once", all_of(SPLITS, images("d", val__cat=2, valid__cat=2)), "search d",
         "each split must have one folder, got several for validation in 'd': 'val', 'valid'", 2),
    Case("D4 splits below each class", images("d", cat__train=4, cat__test=3, dog__train=4, dog__test=3),
         "search d", ("below each class of 'd'", "--split-from 2"), 2),
    Case("D4 and what that advises works", images("d", cat__train=4, cat__test=3, dog__train=4, dog__test=3),
         "explore d --split-from 2", ("14 images in 2 classes", "/ 6 to train")),
    Case("D4 a railway train is a class", images("d", train=5, plane=5, ship=5), "explore d", "15 images in 3 classes"),
    Case("D4 classes in the second folder", images("d", summer__cat=5, summer__dog=5, winter__cat=5, winter__dog=5),
         "explore d --classes-from 2", "20 images in 2 classes"),
    Case("D4 an option that fits nothing", PETS, "search d --classes-from '(x+)y'",
         "classes_from must match names of images, got no match of '(x+)y'", 2),
    Case("D4 a pattern that is none", PETS, "explore d --split-from '('", "regular expression, got '('", 2),
    Case("D4 nothing but text", all_of(written("d/a.txt", "x"), written("d/b/c.md", "x")), "explore d",
         (REFUSED, "got no image below 'd'")),
    Case("D4 an empty folder is not searched", lambda place: (place / "d").mkdir(), "search d",
         "got no image below 'd'", 2),
    Case("D4 a name that is no UTF-8", all_of(PETS, undecodable), "explore d", "13 images in 2 classes"),
    Case("D4 one name in two spellings of Unicode", all_of(PETS, two_spellings), "search d", "\u00fc.png", 2),
    Case("D4 E7 a pipe among the images", all_of(PETS, lambda place: os.mkfifo(place / "d/cat/pipe.png")),
         "explore d", ("12 images in 2 classes", "1 file that is no image (.png): 'cat/pipe.png'")),
    Case("D7 a PNG with 2 MB of text", all_of(PETS, large_text), "explore d", "13 images in 2 classes", never=(REFUSED,)),
    Case("D8 E5 a class that no file could name is described", all_of(PETS, images("d", **{"a\nb": 3})), "explore d",
         ("15 images, which make no task", REFUSED, "must not hold a control character")),
    Case("D8 two spellings of one name are described", all_of(PETS, two_spellings), "explore d", REFUSED),
    Case("D8 a class of two images is described", all_of(PETS, images("d", emu=2)), "explore d",
         ("14 images in 3 classes", "emu 2", REFUSED, "--rare-classes")),
    Case("D8 and not searched", all_of(PETS, images("d", emu=2)), "search d", ("emu (2)", "--rare-classes drop"), 2),
    Case("D8 but with the option", all_of(PETS, images("d", emu=2)), "explore d --rare-classes drop",
         ("8 / 2 / 2", "rare classes are left out: 'emu (2)'", "12 images are used"), never=(REFUSED,)),
    Case("D8 a class that a split lacks", images("d", **{f"{s}__{c}": 3 for s in ("train", "test") for c in "ab"}, train__c=3),
         "explore d", ("15 images in 3 classes", "test has no image of 'c'", REFUSED)),
    Case("D8 and where too few classes are left, folders are", images("d", train__a=4, train__b=4, test__a=3),
         "explore d", ("11 images, which make no task", "test 3 train 8", "test has no image of 'b'")),
    Case("D9 blank once transparency is gone", all_of(PETS, blank), "explore d",
         "Look at 2 images of one colour only (transparency becomes white)"),
    Case("D9 long ones, films, and twins of two labels", all_of(PETS, odd), "explore d",
         ("1 image more than 8 times as long as wide", "1 image from a file of several frames",
          "1 with different labels")),
    Case("D11 a contact sheet within the dataset", PETS, "explore d --sheet d/sheet.png", "d/sheet.png", 2),
    Case("D11 a link to the dataset is the dataset", all_of(PETS, link("other", "d")),
         "explore d --sheet other/cat/sheet.png", "sheet.png", 2),
    Case("D13 most images are broken", all_of(PETS, broken("d/cat", 20)), "explore d --set task.on_bad_image=skip",
         ("20 of 32 images are left out, 12 images are used, and most images cannot be used",
          "20 images that cannot be read")),
    Case("D13 a few are, and nobody said skip", all_of(PETS, broken("d/cat", 2)), "search d",
         ("got 2 of 14", "--on-bad-image skip"), 2),
    Case("D23 a folder with the name of a dataset", images("digits", cat=6, dog=6), "explore digits",
         ("1,797 images", "name that one './digits'")),
    Case("D23 and by its path", images("digits", cat=6, dog=6), "explore ./digits", "12 images in 2 classes"),
    Case("D11 a folder that is not there", nothing, "search gone", "there is no such name, folder or file", 2),
]  # fmt: skip


@of(CASES)
def test_folders(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(case, tmp_path, monkeypatch)
