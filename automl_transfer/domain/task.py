"""The task: a dataset, its splits and its metric, as a plain value that travels with results."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from automl_transfer.domain.account import Account
from automl_transfer.domain.measured import Metric
from automl_transfer.domain.pixel_range import Ranged
from automl_transfer.domain.strict_json import Frozen, unsaid

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Change = Literal["mirror", "rotate"]
"""What may be done to an image of some tasks without changing its class."""
MIRRORED_SIDE = 64
"""Colour images of at least so many pixels a side are taken for photographs, which may be mirrored."""
SMALLEST_SIDE, LARGEST_SIDE = 8, 4096
"""Pixels a side that a network is ever given: its first layers take memory by the square of it."""


def scaled(pixels: int, scale: float) -> int:
    """A side of an image after scaling.

    >>> scaled(33, 1.5)
    50
    """
    return max(1, math.floor(pixels * scale + 0.5))


class SplitSizes(Frozen):
    """Number of images in each split."""

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=0)


class TrainingWeights(Frozen):
    """How often training images count, where a dataset says so; in scores each counts once."""

    lowest: float = Field(gt=0.0)
    highest: float = Field(gt=0.0)
    mean: float = Field(gt=0.0)

    def describe(self) -> str:
        """What it means, as a sentence without its end.

        >>> TrainingWeights(lowest=0.5, highest=3.0, mean=1.25).describe()
        'training images count by their weights (0.5 to 3, mean 1.25); in scores each counts once'
        """
        return (
            f"training images count by their weights ({self.lowest:.4g} to {self.highest:.4g}, mean "
            f"{self.mean:.4g}); in scores each counts once"
        )


class Excluded(Frozen):
    """What a list of exclusions (`--exclude`) did to a task.

    Attributes:
        sha256: Over the images of the list, what each is left out of, and its weight.
        training: Images that are not trained on and would have been; where they validate, they still do.
        everything: Images that are in no split any more.
        weighted: Images that count less in training.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    training: int = Field(ge=0)
    everything: int = Field(ge=0)
    weighted: int = Field(ge=0)

    def describe(self) -> str:
        """What it means, as a sentence without its end.

        >>> Excluded(sha256="ab" * 32, training=3, everything=0, weighted=2).describe()
        'a list (sha256 abababababab) takes images out of training (3) and everything (0); 2 count less'
        """
        return (
            f"a list (sha256 {self.sha256[:12]}) takes images out of training ({self.training:,}) and "
            f"everything ({self.everything:,}); {self.weighted:,} count less"
        )


class GroupNumbers(Frozen):
    """To which group images belong, by number: for what is said of their scores.

    Attributes:
        validation: Of each validation image; `evidence.pack_numbers`.
        pool: Of each image of the training and validation splits together, by sorted rows.
    """

    validation: str
    pool: str


class Task(Ranged):
    """What is to be learnt, without the images themselves.

    Attributes:
        name: The dataset as a person named it, without a local path.
        fingerprint: Hex sha256 over classes, labels, splits, weights and pixels at the working resolution;
            equal on every machine that sees the same data, wherever it lies.
        classes: Class names; the position is the label.
        channels: 1 (gray) or 3 (RGB).
        resolution: Height and width in pixels at which the task is trained.
        pixel_range: Which stored numbers are black and white; None for files of 8 bits.
        channel_mean, channel_std: Over the training split, of pixels in [0, 1], one per channel.
        account: What became of every file; None where an earlier version did not count.
        label_preserving: What leaves an image's class as it is; None where nobody said.
        weights: How often training images count; None: once.
        grouping: Identifies which images belong to one group, whatever the groups are called; empty where
            there are none, and in what earlier versions wrote.
        group_numbers: Which these are, for the images that are judged; None without groups, in what earlier
            versions wrote, and where images are too many.
        excluded: What a list of exclusions did; None without one.
    """

    name: str = Field(min_length=1)
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    classes: tuple[str, ...] = Field(min_length=2)
    splits: SplitSizes
    channels: Literal[1, 3]
    resolution: int = Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE)
    channel_mean: tuple[float, ...]
    channel_std: tuple[float, ...]
    metric: Metric = "accuracy"
    account: Account | None = None
    label_preserving: tuple[Change, ...] | None = Field(default=None, exclude_if=unsaid)
    weights: TrainingWeights | None = Field(default=None, exclude_if=unsaid)
    grouping: str = Field(default="", exclude_if=lambda value: not value)
    group_numbers: GroupNumbers | None = Field(default=None, exclude_if=unsaid)
    excluded: Excluded | None = Field(default=None, exclude_if=unsaid)

    def regrouped(self, now: Task) -> str | None:
        """What tells that the same images are in other groups now, in words; None where they are not.

        Where nothing is known of the groups before, as in older stores, those of now are taken.
        """
        if not self.grouping or self.grouping == now.grouping:
            return None
        there = f"grouping {now.grouping[:12]}" if now.grouping else "no groups"
        return f"grouping of the images ({self.grouping[:12]}, now {there}): which stay together"

    def may(self, change: Change) -> bool:
        """Whether images may be changed so in training; of colour photographs only mirroring is assumed."""
        if self.label_preserving is not None:
            return change in self.label_preserving
        return change == "mirror" and self.channels == 3 and self.resolution >= MIRRORED_SIDE
