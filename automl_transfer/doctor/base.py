"""The contract of a check: what it may look at, and what it promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import Rows
from automl_transfer.data.image_files import FileInventory
from automl_transfer.data.splits import in_shares
from automl_transfer.data.task import LoadedDetails, LoadedTask
from automl_transfer.data.together import leaders_of, twins_of
from automl_transfer.doctor.findings import Finding, Suspect
from automl_transfer.domain.task import SPLITS, Split
from automl_transfer.errors import UserError

if TYPE_CHECKING:
    from automl_transfer.doctor.features import Features
    from automl_transfer.doctor.neighbours import Neighbours
    from automl_transfer.doctor.opinion import Opinion

NO_SPLIT = -1


class Patient:
    """What checks may look at; what is expensive is made when the first check asks for it, once.

    Args:
        details: The dataset, as it was loaded to be described.
        look: Makes the features of the images (`doctor.features`); None where no check may ask for them.

    Attributes:
        rows: Sorted rows of all splits.
        pool: Sorted rows of the training and validation splits: labels of test images are not judged.
        split_of: For each row, the position of its split in `SPLITS`, or `NO_SPLIT`.
    """

    def __init__(self, details: LoadedDetails, look: Callable[[LoadedTask, Rows], Features] | None) -> None:
        self.details = details
        self.task = details.loaded
        self._look = look
        self._failed: UserError | None = None
        self.rows = np.unique(np.concatenate([self.task.indices[split] for split in SPLITS]))
        self.pool = np.unique(np.concatenate([self.task.indices[split] for split in ("train", "validation")]))
        self.split_of = np.full(len(self.task.keys), NO_SPLIT, np.int64)
        for number, split in enumerate(SPLITS):
            self.split_of[self.task.indices[split]] = number

    @cached_property
    def features(self) -> Features:
        """What a source makes of every image in a split."""
        if self._look is None:
            raise RuntimeError("a cheap check must not ask for features")
        if self._failed is None:
            try:
                return self._look(self.task, self.rows)
            except UserError as error:
                self._failed = error
        raise self._failed

    @cached_property
    def opinion(self) -> Opinion:
        """What the features say about every label of the pool, by models that were not fitted on it."""
        from automl_transfer.doctor.opinion import opinion_of

        return opinion_of(self.task, self.pool, self.features)

    @cached_property
    def twins(self) -> Rows | None:
        """As `data.together.twins_of` gives them."""
        return twins_of(self.details.cached.digests, self.details.cached.blank)

    @cached_property
    def leaders(self) -> Rows:
        """Sorted rows in a split, without blank ones; of those with the same pixels one that is judged on."""
        rows = self.rows[~self.details.cached.blank[self.rows]]
        judged_first = rows[np.argsort(-self.split_of[rows], kind="stable")]
        return np.asarray(np.sort(leaders_of(judged_first, self.twins)[0]))

    @cached_property
    def beside(self) -> Neighbours:
        """The nearest others of each of the `leaders`, by late features."""
        from automl_transfer.doctor.neighbours import neighbours_of, reduced

        return neighbours_of(reduced(self.features.late[self.features.at(self.leaders)]))

    @cached_property
    def views(self) -> tuple[tuple[str, npt.NDArray[np.float32]], ...]:
        """Reduced features of the pool: late ones, and early ones that know where something is."""
        from automl_transfer.doctor.neighbours import reduced

        at = self.features.at(self.pool)
        return ("late", reduced(self.features.late[at])), ("early", reduced(self.features.early[at]))

    def sample(self, most: int) -> Rows:
        """At most so many sorted rows of the pool, in the classes' shares."""
        return np.sort(self.pool[in_shares(self.task.labels[self.pool], np.random.default_rng(0))[:most]])

    def split(self, row: int) -> Split | None:
        """Where a row is used."""
        number = int(self.split_of[row])
        return None if number == NO_SPLIT else SPLITS[number]

    def label(self, row: int) -> str:
        """The class of a row; empty where it has none."""
        label = int(self.task.labels[row])
        return "" if label < 0 else self.task.task.classes[label]

    def suspect(self, row: int, **facts: object) -> Suspect:
        """A row as a suspect."""
        key = self.task.keys[row]
        return Suspect.model_validate(
            {"image": key, "split": self.split(row), "label": self.label(row), **facts}
        )

    def files(self) -> Sequence[Path] | None:
        """The file of each row; None where the dataset is no files."""
        inventory = self.details.inventory
        if not isinstance(inventory, FileInventory):
            return None
        return [inventory.files[row] for row in self.details.cached.rows]

    def across(self, groups: Iterable[list[int]]) -> list[list[int]]:
        """Those groups of rows that more than one split has."""
        return [rows for rows in groups if len(set(self.split_of[rows].tolist())) > 1]

    def copies(self, members: Sequence[int]) -> dict[int, str]:
        """Of rows that show the same, those that a split should give up, and what they are a copy of.

        A training image that is validated or tested on elsewhere, and a validation image that is tested on.
        """
        order = sorted(members, key=lambda row: -int(self.split_of[row]))
        best = order[0]
        return {
            row: self.task.keys[best]
            for row in order[1:]
            if self.split_of[row] < self.split_of[best] and self.split_of[row] != NO_SPLIT
        }


class Check(ABC):
    """Looks for one kind of fault.

    Obligations: it changes nothing; gives the same findings for the same images, labels and splits; and a
    cheap one reads no pixels of the whole dataset (what decoding kept of each image is in `details.cached`).

    Attributes:
        name: In the registry.
        title: In a few words, for people.
        cheap: Whether it costs next to nothing, and runs before each search.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    cheap: ClassVar[bool] = False

    @abstractmethod
    def examine(self, patient: Patient) -> Iterable[Finding]:
        """The findings; none where nothing is odd."""
