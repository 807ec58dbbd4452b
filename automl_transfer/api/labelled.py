"""The labelled images that a model is judged on: of a split, or all that a dataset has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl_transfer.api.training import RECIPE
from automl_transfer.data.base import BadImage
from automl_transfer.data.cache import default_cache_root, open_images
from automl_transfer.data.decode_all import Progress
from automl_transfer.data.far import Far
from automl_transfer.data.registry import open_dataset
from automl_transfer.data.task import load_with_details
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import SPLITS, Split
from automl_transfer.errors import DataError


@dataclass(frozen=True)
class Labelled:
    """Decoded images with their labels: rows of `images` are what is to be judged."""

    name: str
    classes: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    unusable: tuple[BadImage, ...]
    fingerprint: str | None
    pixel_range: PixelRange | None


def labelled(
    spec: TaskSpec,
    side: int,
    split: Split | None,
    data_root: Path | None,
    cache_root: Path | None,
    progress: Progress,
    expected: PixelRange,
    *,
    drawn: bool = True,
) -> Labelled:
    """Decoded at this side in pixels, scaled by the range that the model expects.

    Where `drawn` is False, nobody knows how the model's search drew its splits: they must be the dataset's.

    Raises:
        DataError: The dataset cannot be used, or has no such split.
    """
    opened = open_dataset(spec, data_root, expected, Far(cache_root, progress))
    if split is not None and not drawn and opened.inventory.splits is None:
        raise DataError(
            f"the {split} split must be the one that the model's search has drawn, got no readable {RECIPE} "
            f"of this model beside its folder, which says how, and no splits in {spec.dataset!r}: put it "
            "there, or leave --split out"
        )
    if split is not None or opened.per_class is not None:
        details = load_with_details(
            spec, data_root=data_root, cache_root=cache_root, progress=progress, expected=expected
        )
        loaded = details.loaded
        rows = (
            loaded.indices[split]
            if split is not None
            else np.sort(np.concatenate([loaded.indices[each] for each in SPLITS]))
        )
        if not len(rows):
            raise DataError(
                f"the dataset must have {split} images, got none in {opened.name}: leave --split out to "
                "judge all of its images"
            )
        return Labelled(
            opened.name,
            loaded.task.classes,
            loaded.images if loaded.side == side or loaded.larger is None else loaded.larger.at(side).images,
            rows,
            loaded.labels,
            loaded.keys,
            loaded.skipped,
            loaded.task.fingerprint,
            loaded.task.pixel_range,
        )
    inventory = opened.inventory
    cached = open_images(
        inventory,
        channels=spec.channels,
        resolution=side,
        cache_root=cache_root or default_cache_root(),
        progress=progress,
    )
    return Labelled(
        opened.name,
        inventory.classes,
        cached.images,
        np.arange(len(cached.rows), dtype=np.int64),
        inventory.labels[cached.rows],
        tuple(inventory.keys[row] for row in cached.rows),
        inventory.outside + cached.bad,
        None,
        cached.pixel_range,
    )
