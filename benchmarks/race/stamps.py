"""Photographs and drawings of five kinds, from Debian's package `tuxpaint-stamps-default`, as an image folder.

    python benchmarks/race/stamps.py FOLDER

Real pictures with alpha channels, 38 to 146 a class; not shipped with the project. Needs apt and dpkg.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
from debian import unpacked

PACKAGE = "tuxpaint-stamps-default"
KINDS = ("animals", "food", "plants", "town", "vehicles")


def fetch(folder: Path) -> Path:
    """The image folder, made where it is not there yet."""
    if folder.is_dir():
        return folder
    with unpacked(PACKAGE) as files:
        root = files / "usr" / "share" / "tuxpaint" / "stamps"
        made = files / "made"
        for kind in KINDS:
            (made / kind).mkdir(parents=True)
            for file in sorted((root / kind).rglob("*.png")):
                shutil.copy(file, made / kind / "_".join(file.relative_to(root / kind).parts))
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, folder)
    return folder


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])))
