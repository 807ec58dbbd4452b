"""The photographs' tasks: where their images are, and how a seed splits them, as tables that every arm reads.

    python benchmarks/photos/tasks.py [--photos FOLDER]        makes the images, says how many there are, and of series

`clothing`, `signs` and `tiles` are read from a folder that is given; the others come from Debian's packages,
their pictures as files of their own, flattened on white, the shorter side at most 192 pixels, so that no arm
pays for decoding what it does not need. A table has the columns file, label, split and group.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import random
import re
import statistics
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from automl_transfer.data.splits import assign
from automl_transfer.domain.spec import SplitFractions

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / "race"))
from debian import unpacked
from stamps import fetch

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
MINUTES = 20.0
SEEDS = 3
SHARES = {"train": 0.5, "validation": 0.2, "test": 0.3}
CLOTHING_TEST = 0.121
LARGEST_SIDE, LARGEST, LEAST = 192, 40_000_000, 20

CLIPART = (
    "animals", "buildings", "decorations", "education", "electronics", "food", "geography", "office", "people",
    "plants", "recreation", "tools", "transportation",
)  # fmt: skip
"""Top folders of things. Icons, shapes, signs and what is unsorted are left out: numbered series, no kinds."""
MAPS = re.compile(r"_(nm|sm|gm|rm|glow)$")
"""Normals, gloss and glow of a texture: not what it looks like."""
SAME_WORD = {"metall": "metal"}
NO_WORD = {"ab", "ufo"}
"""Prefixes that say for what a texture was made, not what is on it."""


def folder_of(minutes: float, cut: int | None) -> Path:
    """Where cells lie: those that count in `recorded/`."""
    if minutes == MINUTES and cut is None:
        return HERE / "recorded"
    return DATA / (f"minutes-{minutes:g}" + ("" if cut is None else f"-cut-{cut}"))


def cell_file(task: str, arm: str, seed: int, minutes: float, cut: int | None = None) -> Path:
    """The file of a cell."""
    return folder_of(minutes, cut) / f"{task}-{arm}-{seed}.json"


@dataclass(frozen=True)
class Picture:
    """A file, relative to its task's folder; `split` where the task fixes it."""

    file: str
    label: str
    group: str
    split: str = ""


@dataclass(frozen=True)
class Task:
    """Where a task's pictures are.

    Attributes:
        title: For people.
        pictures: The folder, given that of the photographs, and what is in it.
        given: They are in the folder of the photographs.
        flips: What leaves a class as it is: `mirror`, `rotate`.
        balanced: Few and unbalanced: macro F1 and balanced accuracy are told, too.
    """

    title: str
    pictures: Callable[[Path], tuple[Path, list[Picture]]]
    given: bool = False
    flips: tuple[str, ...] = ("mirror",)
    balanced: bool = False


def _clothing(photos: Path) -> tuple[Path, list[Picture]]:
    root = photos / "clothing"
    found = [
        Picture(f"{split}/{file.parent.name}/{file.name}", file.parent.name, file.stem, split)
        for split in ("train", "validation")
        for file in sorted((root / split).glob("*/*.jpg"))
    ]
    return root, found


def _classes(name: str) -> Callable[[Path], tuple[Path, list[Picture]]]:
    """One folder a class."""

    def pictures(photos: Path) -> tuple[Path, list[Picture]]:
        files = sorted((photos / name).glob("*/*.jpg"))
        return photos / name, [
            Picture(f"{f.parent.name}/{f.name}", f.parent.name, f"{f.parent.name}/{f.stem}") for f in files
        ]

    return pictures


Raw = tuple[str, str, str, Callable[[], bytes]]
"""Name, label, group and bytes of a picture."""


def _made(name: str, raw: Callable[[], Iterator[Raw]]) -> Callable[[Path], tuple[Path, list[Picture]]]:
    """A task whose pictures are made once: readable ones, each of which is there once."""

    def pictures(_: Path) -> tuple[Path, list[Picture]]:
        root, index = DATA / name, DATA / name / "index.csv"
        if not index.exists():
            root.mkdir(parents=True, exist_ok=True)
            rows: list[tuple[str, str, str, str]] = []
            seen, left = set[str](), Counter[str]()
            for file, label, group, read in raw():
                try:
                    flat = _flat(read())
                except Image.DecompressionBombError:
                    flat = None
                except (OSError, ValueError, SyntaxError):  # what Pillow raises for broken files
                    left["unreadable"] += 1
                    continue
                if flat is None:
                    left["too large"] += 1
                    continue
                digest = hashlib.sha256(flat.tobytes()).hexdigest()
                if digest in seen:
                    left["twins"] += 1
                    continue
                seen.add(digest)
                flat.save(root / f"{len(rows):05}.png")
                rows.append((f"{len(rows):05}.png", label, group, file))
            print(f"{name}: {len(rows)} pictures, left out: {dict(left)}", flush=True)
            _write(index, ("file", "label", "group", "name"), rows)
        with index.open(encoding="utf-8", newline="") as lines:
            found = [Picture(row["file"], row["label"], row["group"]) for row in csv.DictReader(lines)]
        many = Counter(picture.label for picture in found)
        return root, [picture for picture in found if many[picture.label] >= LEAST]

    return pictures


def _flat(data: bytes) -> Image.Image | None:
    """On white, RGB, no larger than needed; None where it would take gigabytes to decode."""
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > LARGEST:
            return None
        rgba = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    scale = LARGEST_SIDE / min(flat.size)
    if scale >= 1:
        return flat
    return flat.resize([max(1, round(side * scale)) for side in flat.size], Image.Resampling.LANCZOS)


def _stamps() -> Iterator[Raw]:
    folder = fetch(HERE.parent / "race" / "data" / "stamps")
    for file in sorted(folder.rglob("*.png")):
        kind = file.parent.name
        yield file.name, kind, f"{kind}/{_series(file.stem)}", file.read_bytes


def _clipart() -> Iterator[Raw]:
    with unpacked("openclipart-png") as files:
        root = files / "usr" / "share" / "openclipart" / "png"
        for kind in CLIPART:
            for file in sorted((root / kind).rglob("*.png")):
                if not file.is_symlink():
                    yield file.name, kind, f"{kind}/{_series(file.stem)}", file.read_bytes


def _textures() -> Iterator[Raw]:
    with unpacked("ufoai-textures") as files:
        archive = files / "usr" / "share" / "games" / "ufoai" / "base" / "0textures.pk3"
        with zipfile.ZipFile(archive) as pack:
            for name in sorted(pack.namelist()):
                stem = Path(name).stem.lower()
                word = re.split(r"[_\d-]", stem)[0]
                if name.endswith("/") or MAPS.search(stem) or len(word) < 3 or word in NO_WORD:
                    continue
                yield name, SAME_WORD.get(word, word), _object(stem), partial(pack.read, name)


def _series(stem: str) -> str:
    """`eagle_02` and `eagle_03` are drawn by one hand."""
    return re.sub(r"[_-]?\d*$", "", stem) or stem


def _object(stem: str) -> str:
    """`wall002_black` is a variant of `wall002`, `metal_duct_rust` of `metal_duct`."""
    numbered = re.match(r"\D+\d+", stem)
    return numbered.group() if numbered else "_".join(stem.split("_")[:2])


TASKS: dict[str, Task] = {
    "clothing": Task("garments", _clothing, given=True),
    "signs": Task("hands that show digits", _classes("signs"), given=True),
    "tiles": Task(
        "surfaces of tiles", _classes("tiles"), given=True, flips=("mirror", "rotate"), balanced=True
    ),
    "stamps": Task("stamps of five kinds", _made("stamps", _stamps)),
    "openclipart-png": Task("clip art", _made("openclipart-png", _clipart)),
    "ufoai-textures": Task("textures", _made("ufoai-textures", _textures)),
}


def check(
    parser: argparse.ArgumentParser, asked: argparse.Namespace, names: Iterable[str], *counts: str
) -> None:
    """Refuse what cannot be run, before anything is: counts below 1, and photographs that are not there."""
    for count in counts:
        given = getattr(asked, count)
        if min(given if isinstance(given, list) else [given]) < 1:
            parser.error(f"--{count} must be at least 1, got {given}")
    for name in names:
        if TASKS[name].given and (asked.photos is None or not (asked.photos / name).is_dir()):
            parser.error(f"--photos must be the folder that holds {name}/, got {asked.photos}")


def lines_of(path: Path) -> list[dict[str, Any]]:
    """What is recorded in a file of one JSON object a line; nothing where it is not there."""
    if not path.exists():
        return []
    with _reading(path, "one JSON object a line"):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cell_of(path: Path) -> dict[str, Any]:
    """A recorded cell."""
    with _reading(path, "a cell in JSON"):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        print(f"{path} must hold {what}, got what is none ({error}): take it out", file=sys.stderr)
        sys.exit(2)


def split(pictures: list[Picture], shares: dict[str, float], seed: int) -> dict[str, str]:
    """The split of each file: every class in these shares, groups whole, and groups of each size in them, too.

    Seed 0 was dealt, and recorded, before sizes were: its series lie in training and the test split, as far as
    there is room, and validation has single images.
    """
    found: dict[str, str] = {}
    classes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for picture in pictures:
        classes[picture.label][picture.group].append(picture.file)
    for label, groups in sorted(classes.items()):
        names = sorted(groups)
        random.Random(f"{seed} {label}").shuffle(names)
        most, due = max(map(len, groups.values())), Counter[int]()
        for files in groups.values():
            due[len(files) if seed else most] += len(files)
        wanted = dict.fromkeys(shares, 0.0)
        for group in sorted(names, key=lambda name: -len(groups[name])):  # stable: shuffled among equals
            dealt = due.pop(len(groups[group]), 0)
            for name, share in shares.items():
                wanted[name] += share * dealt
            emptiest = max(wanted, key=lambda name: wanted[name])
            wanted[emptiest] -= len(groups[group])
            found |= dict.fromkeys(groups[group], emptiest)
    return found


def table(name: str, seed: int, photos: Path | None, cut: int | None = None) -> tuple[Path, Path]:
    """The table of a task's splits by this seed, and the folder that its files are relative to.

    `cut` leaves about so many images, of every class and split some, for trying things out.
    """
    task = TASKS[name]
    if task.given and (photos is None or not photos.is_dir()):
        sys.exit(f"{name} is one of the photographs: give the folder that holds {name}/ with --photos FOLDER")
    root, pictures = task.pictures(photos or Path())
    if not pictures:
        sys.exit(f"{root} must hold the images of {name}, found none")
    fixed = {picture.file: picture.split for picture in pictures if picture.split}
    loose = [picture for picture in pictures if picture.split in ("", "train")]
    if fixed:
        assigned = {**fixed, **split(loose, {"train": 1 - CLOTHING_TEST, "test": CLOTHING_TEST}, seed)}
    else:
        assigned = split(loose, SHARES, seed)
    rows = [(p.file, p.label, assigned[p.file], p.group) for p in pictures]
    if cut is not None:
        rows = _cut(rows, cut)
    file = DATA / "tables" / (f"{name}-{seed}" + ("" if cut is None else f"-{cut}") + ".csv")
    _write(file, ("file", "label", "split", "group"), rows)
    return file, root


def _cut(rows: list[tuple[str, str, str, str]], size: int) -> list[tuple[str, str, str, str]]:
    parts = defaultdict(list)
    for row in rows:
        parts[row[1], row[2]].append(row)
    return [
        row for part in parts.values() for row in part[: max(2, round(len(part) * size / len(rows)))]
    ]  # fmt: skip


def _write(file: Path, header: tuple[str, ...], rows: list[tuple[str, str, str, str]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    part = file.with_suffix(".part")
    part.write_text(text.getvalue(), encoding="utf-8")
    part.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path)
    options = parser.parse_args()
    for name, task in TASKS.items():
        if task.given and options.photos is None:
            continue
        file, _ = table(name, 0, options.photos)
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        sizes, classes = Counter(row["split"] for row in rows), Counter(row["label"] for row in rows)
        print(f"{name}: {dict(sizes)}, {len(classes)} classes of {min(classes.values())} to "
              f"{max(classes.values())}")  # fmt: skip
        for seed in range(SEEDS):
            print_series(name, seed, options.photos)


def print_series(name: str, seed: int, photos: Path | None) -> None:
    """How much of each split is of a series, as this benchmark deals it, and as `--columns group` does."""
    file, _ = table(name, seed, photos)
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    many = Counter(row["group"] for row in rows)
    if max(many.values()) == 1:
        return
    classes = sorted({row["label"] for row in rows})
    dealt = assign(
        np.array([classes.index(row["label"]) for row in rows]), classes, SplitFractions(**SHARES), seed,
        groups=[row["group"] for row in rows],
    )  # fmt: skip
    here = {split: [row for row in rows if row["split"] == split] for split in SHARES}
    there = {split: [rows[at] for at in dealt[split]] for split in SHARES}

    def told(splits: dict[str, list[dict[str, str]]]) -> str:
        return ", ".join(
            f"{statistics.fmean(many[row['group']] > 1 for row in part):.0%} of {split}"
            for split, part in splits.items()
        )

    print(f"  seed {seed}: of a series {told(here)}; as the program deals {told(there)}")


if __name__ == "__main__":
    main()
