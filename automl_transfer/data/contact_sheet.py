"""A contact sheet: a few training images of each class on one PNG."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from automl_transfer.data.far import is_far
from automl_transfer.data.registry import parse
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import OutputError
from automl_transfer.files import whole_file

MOST_CLASSES = 50
CAPTION = 18
MARGIN = 4
WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "DejaVuSans.ttf",
    "arial.ttf",
)
"""System fonts with more letters than Pillow's own, which has ASCII only; the widest first."""


def refuse_inside(
    path: Path,
    spec: TaskSpec,
    data_root: Path | None,
    what: str = "the contact sheet",
    option: str = "--sheet",
) -> None:
    """Refuse to write a sheet (or what else it is) into the dataset, where it would be one more image.

    Raises:
        OutputError: It would lie in the dataset's folder.
    """
    if is_far(spec.dataset):  # its copy lies in the cache
        return
    _, folder, _ = parse(spec.dataset, data_root)
    if folder is not None and folder.is_dir() and path.resolve().is_relative_to(folder.resolve()):
        raise OutputError(
            f"{what} must lie outside the dataset's folder, of which it would become a part, "
            f"got {str(path)!r}: choose another {option}"
        )


def write_contact_sheet(loaded: LoadedTask, path: Path, *, per_class: int = 10, tile: int = 64) -> Path:
    """Write up to `per_class` training images a class, in rows with captions, always the same ones.

    Classes after the first 50 are left out (the last line says how many). Captions begin with the label,
    for names in letters that no font of this machine has.

    Raises:
        OutputError: The file cannot be written.
    """
    classes = loaded.task.classes[:MOST_CLASSES]
    left_out = len(loaded.task.classes) - len(classes)
    row_height = CAPTION + tile + MARGIN
    height = len(classes) * row_height + MARGIN + (CAPTION if left_out else 0)
    sheet = Image.new("RGB", (MARGIN + per_class * (tile + MARGIN), height), "white")
    draw = ImageDraw.Draw(sheet)
    train = loaded.indices["train"]
    for label, name in enumerate(classes):
        rows = train[loaded.labels[train] == label]
        top = MARGIN + label * row_height
        caption = f"{label}  {name}  ({len(rows)} in train)"
        draw.text((MARGIN, top), caption, fill="black", font=_font(caption))
        chosen = np.sort(np.random.default_rng([0, label]).permutation(rows)[:per_class])
        for column, row in enumerate(chosen):
            sheet.paste(_tile(loaded, int(row), tile), (MARGIN + column * (tile + MARGIN), top + CAPTION))
    if left_out:
        caption = f"and {left_out} more classes"
        draw.text((MARGIN, height - CAPTION), caption, fill="black", font=_font(caption))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            sheet.save(temporary, format="PNG")
    except OSError as error:
        raise OutputError(f"the contact sheet must be writable, got {str(path)!r}: {error}") from error
    return path


def _font(text: str) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    if not text.isascii():
        for name in WIDE_FONTS:
            with contextlib.suppress(OSError):
                return ImageFont.truetype(name, 13)
        with contextlib.suppress(UnicodeEncodeError):
            text.encode("latin-1")
            return ImageFont.load_default_imagefont()
    return ImageFont.load_default(size=13)


def _tile(loaded: LoadedTask, row: int, side: int) -> Image.Image:
    pixels = np.asarray(loaded.images[row])
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    # Enlarging small images pixel by pixel shows what the network sees.
    smooth = side < image.width
    return image.resize((side, side), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
