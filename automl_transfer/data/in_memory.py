"""A task made of arrays that are in memory already: nothing is cached on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from automl_transfer.data.base import NoTaskError, Pixels, Rows
from automl_transfer.data.cache import CachedImages
from automl_transfer.data.decode_all import digest_of
from automl_transfer.data.task import LoadedDetails, LoadedTask, channel_statistics, check_names
from automl_transfer.data.together import leaders_of, twins_of
from automl_transfer.data.weights import Weights, said, summary, trained
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.domain.task import Split, SplitSizes, Task


def task_in_memory(
    images: Pixels,
    labels: Rows,
    classes: tuple[str, ...],
    *,
    held_out: float,
    seed: int,
    pixel_range: PixelRange | None = None,
    weights: Weights | None = None,
) -> LoadedDetails:
    """A task with training and validation images, and no test split.

    Args:
        images: uint8 (N, H, W, C), square.
        labels: int64 (N,), positions in `classes`.
        classes: Their names.
        held_out: Share of each class that validates, by seed; at least one image where a class has two.
            With 0, or where no class has two, training images validate too.
        seed: Of the choice.
        pixel_range: By which stored numbers were scaled to the images.
        weights: How often each image counts in training (`data.weights`); None: once.

    Raises:
        DataError: A class has a name that could not be shipped, or no training image that counts.
    """
    check_names("arrays", classes)
    digests = np.stack([np.frombuffer(digest_of(image), np.uint8) for image in images])
    flat = images.reshape(len(images), -1, images.shape[3])
    # As decoding an image does it: whole arrays of int64 would take sixteen times the images' memory.
    squares = np.einsum("npc,npc->nc", flat, flat, dtype=np.int64, casting="safe")
    cached = CachedImages(
        images=images,
        rows=np.arange(len(images), dtype=np.int64),
        digests=digests,
        moments=np.stack([flat.sum(axis=1, dtype=np.int64), squares], axis=2),
        sizes=np.full((len(images), 2), images.shape[1], np.int64),
        frames=np.zeros(len(images), np.bool_),
        bad=(),
        pixel_range=pixel_range,
    )
    twins, weights = twins_of(digests, cached.blank), said(weights)
    indices, unlearnt = trained(_split(labels, len(classes), held_out, seed, twins), weights, labels, classes)
    if unlearnt:
        raise NoTaskError(unlearnt)
    mean, std = channel_statistics(cached, indices["train"])
    content = hashlib.sha256(digests.tobytes() + labels.astype("<i8").tobytes())
    for rows in indices.values():
        content.update(rows.astype("<i8").tobytes())
    if weights is not None:
        content.update(weights.astype("<f8").tobytes())
    task = Task(
        name="arrays",
        fingerprint=content.hexdigest(),
        classes=classes,
        splits=SplitSizes(
            train=len(indices["train"]), validation=len(indices["validation"]), test=len(indices["test"])
        ),
        channels=3 if images.shape[3] == 3 else 1,
        resolution=images.shape[1],
        pixel_range=pixel_range,
        channel_mean=mean,
        channel_std=std,
        weights=summary(weights, indices["train"]),
    )
    keys = tuple(str(row) for row in range(len(images)))
    loaded = LoadedTask(task, images, labels, indices, keys, twins=twins, weights=weights)
    return LoadedDetails(loaded, cached)


def _split(
    labels: Rows, classes: int, held_out: float, seed: int, twins: Rows | None
) -> Mapping[Split, Rows]:
    everything = np.arange(len(labels), dtype=np.int64)
    first, place = leaders_of(everything, twins)
    chosen: list[Rows] = []
    for label in range(classes):
        rows = np.random.default_rng([seed, label]).permutation(first[labels[first] == label])
        count = min(max(1, round(held_out * len(rows))), len(rows) - 1) if held_out else 0
        chosen.append(rows[: max(0, count)])
    validation = everything[np.isin(first[place], np.concatenate(chosen))]
    train = np.setdiff1d(everything, validation)
    nothing = np.zeros(0, np.int64)
    return {"train": train, "validation": validation if len(validation) else train, "test": nothing}
