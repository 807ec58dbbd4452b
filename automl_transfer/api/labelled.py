"""The labelled images that a model is judged on: of a split, or all that a dataset has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import BadImage
from automl_transfer.data.cache import default_cache_root, open_images
from automl_transfer.data.decode_all import Progress
from automl_transfer.data.exclude import of_dataset, read_exclusions
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
    unknown: str | None = None,
) -> Labelled:
    """Decoded at this side in pixels, scaled by the range that the model expects.

    `unknown` says why nobody knows how the model's search drew splits of these data, if so, and what to do:
    they must then be the dataset's.

    Raises:
        DataError: The dataset cannot be used, or has no such split.
    """
    opened = open_dataset(spec, data_root, expected, Far(cache_root, progress))
    if split is not None and unknown is not None and opened.inventory.splits is None:
        raise DataError(
            f"the {split} split must be the one that the model's search has drawn, got no splits in "
            f"{spec.dataset!r}, and {unknown}, or leave --split out"
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
    listed = {} if spec.exclude is None else read_exclusions(spec.exclude, data_root)
    others = {each.key for each in inventory.outside} | {each.key for each in inventory.left_out}
    listed = of_dataset(listed, others.union(inventory.keys))
    cached = open_images(
        inventory,
        channels=spec.channels,
        resolution=side,
        cache_root=cache_root or default_cache_root(),
        progress=progress,
    )
    keys = tuple(inventory.keys[row] for row in cached.rows)
    out = {image for image, each in listed.items() if each.scope == "everything"}
    return Labelled(
        opened.name,
        inventory.classes,
        cached.images,
        np.flatnonzero([key not in out for key in keys]),
        inventory.labels[cached.rows],
        keys,
        inventory.outside + cached.bad,
        None,
        cached.pixel_range,
    )
