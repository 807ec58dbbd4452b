"""textures: patches of three photographs of 512x512 pixels (brick, grass, gravel), from scikit-image.

Neighbouring patches of one photograph look alike, so random splits would leak. Each photograph is cut
into one band a split, with a strip of unused pixels between bands: patches of different splits never
touch. The seed decides, for each photograph on its own, whether bands are horizontal or vertical, in
which order they come, and by how many pixels they are shifted.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import numpy as np
import numpy.typing as npt
from PIL import Image

from automl_transfer.data.arrays import ArrayInventory
from automl_transfer.data.base import DatasetKind, Inventory, Request
from automl_transfer.domain.spec import SplitFractions
from automl_transfer.domain.task import SPLITS, Split
from automl_transfer.errors import DataError

PHOTOGRAPHS = ("brick", "grass", "gravel")
SIDE = 512
SMALLEST_PATCH, LARGEST_PATCH = 8, 128


class Textures(DatasetKind):
    """Option `patch`: side of a patch in pixels."""

    options: Mapping[str, str] = {
        "patch": f"side of a patch in pixels, {SMALLEST_PATCH} to {LARGEST_PATCH} (default 32)"
    }

    def open(self, request: Request) -> Inventory:
        """Cut the photographs that scikit-image carries.

        Raises:
            DataError: scikit-image is not installed, or `patch` is out of range.
        """
        patch = _patch(request.options.get("patch", "32"))
        try:
            package = distribution("scikit-image")
        except PackageNotFoundError as error:
            raise DataError(
                "dataset textures needs the package scikit-image, which is not installed: "
                "pip install 'automl-transfer[datasets]'"
            ) from error
        images: list[npt.NDArray[np.uint8]] = []
        labels: list[int] = []
        keys: list[str] = []
        splits: list[Split] = []
        for label, name in enumerate(PHOTOGRAPHS):
            photograph = _photograph(package, name)
            for split, y, x in cut(patch, request.spec.splits, (request.spec.seed, label)):
                images.append(photograph[y : y + patch, x : x + patch])
                labels.append(label)
                keys.append(f"{name}/y{y:03d}x{x:03d}")
                splits.append(split)
        fractions = request.spec.splits.model_dump_json()
        return ArrayInventory(
            name="textures" if patch == 32 else f"textures?patch={patch}",
            classes=PHOTOGRAPHS,
            labels=np.array(labels, np.int64),
            keys=tuple(keys),
            signature=f"textures scikit-image {package.version} {patch} {request.spec.seed} {fractions}",
            splits=tuple(splits),
            images=np.stack(images),
        )


def cut(patch: int, fractions: SplitFractions, seed: tuple[int, int]) -> list[tuple[Split, int, int]]:
    """Split, top and left pixel of every patch of one photograph."""
    used = [split for split in SPLITS if getattr(fractions, split) > 0.0]
    gap = max(4, patch // 4)
    bands = (SIDE - gap * (len(used) - 1)) // patch
    sizes: dict[Split, int] = {
        split: max(1, round(bands * getattr(fractions, split))) for split in used if split != "train"
    }
    sizes["train"] = bands - sum(sizes.values())
    if sizes["train"] < 1:
        raise DataError(
            f"textures: patches of {patch} pixels give {bands} rows a photograph, too few for the splits "
            f"{', '.join(f'{split} {getattr(fractions, split):g}' for split in used)}: use smaller patches"
        )
    rng = np.random.default_rng([*seed, patch])
    order = [used[i] for i in rng.permutation(len(used))]
    spare = SIDE - gap * (len(used) - 1) - bands * patch
    # Spare pixels go before, between and after the bands.
    shifts = np.sort(rng.integers(0, spare + 1, size=len(used)))
    vertical = bool(rng.integers(2))
    patches: list[tuple[Split, int, int]] = []
    across = range(int(rng.integers(SIDE % patch + 1)), SIDE - patch + 1, patch)
    start = 0
    for split, shift in zip(order, shifts, strict=True):
        for row in range(sizes[split]):
            along = start + int(shift) + row * patch
            patches += [(split, x, along) if vertical else (split, along, x) for x in across]
        start += sizes[split] * patch + gap
    return sorted(patches, key=lambda item: item[1:])


def _photograph(package: Distribution, name: str) -> npt.NDArray[np.uint8]:
    """Gray pixels (512, 512); scikit-image's own reader would load SciPy first."""
    file = f"skimage/data/{name}.png"
    try:
        with Image.open(str(package.locate_file(file))) as image:
            return np.asarray(image, dtype=np.uint8)
    except OSError as error:
        raise DataError(
            f"dataset textures needs the file {file} of scikit-image, got {error.strerror or error}: "
            "install scikit-image again"
        ) from error


def _patch(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not SMALLEST_PATCH <= int(text) <= LARGEST_PATCH:
        raise DataError(
            f"textures?patch must be an integer from {SMALLEST_PATCH} to {LARGEST_PATCH}, got {text!r}"
        )
    return int(text)
