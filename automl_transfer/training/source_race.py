"""Many sources on one task: the weak ones are dropped after a few images (successive halving, Jamieson 2016).

In a round all that are left see the same training images, as many of each class as of others; the better half
stays, and the next round shows it twice as many. So each round costs as much as the first: about one pass of
one source over the images of a profile, or of all sources over `LEAST_ROWS`, where they are many. Nothing is
trained meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automl_transfer.data.splits import places_in_class
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.errors import DataError, SourceError

if TYPE_CHECKING:
    from automl_transfer.training.profile import Profiler

KEPT = 2
"""Sources that are left in the end."""
LEAST_ROWS, MOST_ROWS = 100, 1000
"""Images of the first round at least, and of any round at most."""

_log = logging.getLogger(__name__)

Look = Callable[[str, np.ndarray], "Profiler"]
"""Profiles a source on these rows, not yet at any resolution."""


@dataclass(frozen=True)
class Race:
    """How it ended.

    Attributes:
        kept: The best, best first.
        dropped: What was seen of the others, the last dropped first.
        first: What the first round saw of all that can be used, on the same images, with scores: no other
            round compares all. Empty where there was none, because the sources are few.
        unusable: Those that cannot be used with these images, and why.
    """

    kept: tuple[str, ...]
    dropped: tuple[ProfileRecord, ...] = ()
    first: tuple[ProfileRecord, ...] = ()
    unusable: tuple[tuple[str, str], ...] = ()


def race(
    sources: Sequence[str],
    task: LoadedTask,
    look: Look,
    *,
    seed: int = 0,
    keep: int = KEPT,
    on_source: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Race:
    """Compare sources until so many are left.

    Args:
        sources: Their names.
        task: Its training split alone is looked at.
        look: Makes a profiler.
        seed: Of the choice of images.
        keep: How many stay.
        on_source: Told which source is looked at, and how many looks there are.

    Raises:
        SourceError, DataError: No source can be used with these images.
    """
    rows = in_turn(task, seed)
    total = min(len(rows), MOST_ROWS)
    left, dropped = list(sources), list[ProfileRecord]()
    unusable: list[tuple[str, str]] = []
    first: tuple[ProfileRecord, ...] = ()
    images = max(LEAST_ROWS, total // max(1, len(left)))
    while len(left) > keep:
        some = np.sort(rows[: min(total, images)])
        seen: list[ProfileRecord] = []
        for number, name in enumerate(left):
            on_source(name, number, len(left))
            try:
                profiler = look(name, some)
                profiler.look(profiler.scales[0])
                record = profiler.record()
                seen.append(record if first else profiler.compared(record))
            except (SourceError, DataError) as error:
                if len(unusable) + 1 == len(sources):
                    raise
                _log.warning("the source %s is left out: %s", name, error)
                unusable.append((name, str(error)))
        first = first or tuple(seen)
        images *= 2
        seen.sort(key=_nll)
        stay = max(keep, -(-len(left) // 2))
        dropped[:0] = seen[stay:]
        left = [record.source for record in seen[:stay]]
        for record in seen[stay:]:
            _log.info("the source %s is dropped after %d images", record.source, record.images)
    return Race(tuple(left), tuple(dropped), first, tuple(unusable))


def in_turn(task: LoadedTask, seed: int) -> np.ndarray:
    """Training rows in a random order in which classes take turns, the rare ones until they are used up."""
    rows = np.asarray(task.indices["train"])
    rows = np.random.default_rng([seed, 2]).permutation(rows)
    return np.asarray(rows[np.argsort(places_in_class(task.labels[rows]), kind="stable")])


def _nll(record: ProfileRecord) -> float:
    """Of the best head that a strategy can name; the best single cut where none can be named here."""
    return record.best.loo_nll if record.best else min(cut.loo_nll for cut in record.cuts)
