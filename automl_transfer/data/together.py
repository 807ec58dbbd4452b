"""Which images are one thing seen several times: those of a group, and those with exactly the same pixels.

Splits, folds and leave-one-out that the program makes itself keep them on one side: whoever knows the class
of one such image knows that of the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import Pixels, Rows
from automl_transfer.domain.evidence import MOST_NUMBERS, pack_numbers
from automl_transfer.domain.task import GroupNumbers, Split

MOST_JOINED = 4
"""Where joining groups by duplicates makes one of more than a quarter of all images, groups stay as they are:
an empty form or a test picture that everybody has does not make everybody one."""


def together_of(groups: Sequence[str] | None, twins: Rows | None = None) -> Rows | None:
    """A number for each image, int64 (N,), the same one for those that belong together; None where none do.

    Numbers are in the order of the groups' names, or else of the first images.

    Args:
        groups: The group of each image.
        twins: As `twins_of` gives them.
    """
    if groups is None:
        return twins
    named = np.unique(np.array(groups), return_inverse=True)[1].astype(np.int64).reshape(-1)
    if twins is None:
        return named
    joined = _joined(named, twins)
    largest = np.bincount(joined).max()
    return joined if largest <= max(np.bincount(named).max(), len(named) // MOST_JOINED) else named


def grouping_of(groups: Sequence[str] | None) -> str:
    """Hex sha256 of which images are in one group, whatever the groups are called; empty without groups."""
    if groups is None:
        return ""
    first: dict[str, int] = {}
    members = np.array([first.setdefault(group, len(first)) for group in groups], dtype="<i8")
    return hashlib.sha256(members.tobytes()).hexdigest()


def group_numbers_of(
    groups: Sequence[str] | None, twins: Rows | None, indices: Mapping[Split, Rows]
) -> GroupNumbers | None:
    """Which judged images belong together, where there are groups and images are not too many."""
    pool = np.sort(np.concatenate([indices["train"], indices["validation"]]))
    numbers = together_of(groups, twins)
    if groups is None or numbers is None or len(pool) > MOST_NUMBERS:
        return None
    of_pool = np.unique(numbers[pool], return_inverse=True)[1].reshape(-1)
    of_validation = of_pool[np.searchsorted(pool, indices["validation"])]
    return GroupNumbers(validation=pack_numbers(of_validation.tolist()), pool=pack_numbers(of_pool.tolist()))


def twins_of(digests: Pixels, blank: npt.NDArray[np.bool_]) -> Rows | None:
    """A number for each image, int64 (N,), the same one for those of the same pixels; None where all differ.

    Args:
        digests: uint8 (N, 16), equal for equal pixels.
        blank: Images of one colour only, which are nothing seen twice.
    """
    content = np.ascontiguousarray(digests).view("V16").ravel()
    _, first, inverse = np.unique(content, return_index=True, return_inverse=True)
    found = first[inverse.reshape(-1)].astype(np.int64)
    found[blank] = np.flatnonzero(blank)
    if (found == np.arange(len(found))).all():
        return None
    return np.unique(found, return_inverse=True)[1].astype(np.int64).reshape(-1)


def leaders_of(rows: Rows, together: Rows | None) -> tuple[Rows, Rows]:
    """The first of those sorted rows that belong together, sorted, and where each row has its own there."""
    if together is None:
        return rows, np.arange(len(rows), dtype=np.int64)
    _, first, inverse = np.unique(together[rows], return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return rows[first[order]], place[inverse.reshape(-1)]


def gathered(rows: Rows, numbers: Rows) -> list[list[int]]:
    """Those of the sorted rows that have the same number, where several have; in the order of the numbers."""
    order = np.argsort(numbers, kind="stable")
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    return [rows[each].tolist() for each in np.split(order, cuts) if len(each) > 1]


def _joined(named: Rows, twins: Rows) -> Rows:
    """Numbers of what groups and duplicates connect, in the order of the first group of each."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    sides = (int(named.max()) + 1, int(twins.max()) + 1)
    edges = (np.ones(len(named)), (named, sides[0] + twins))
    _, part = connected_components(coo_matrix(edges, shape=(sum(sides), sum(sides))), directed=False)
    found = part[named]
    least = np.full(found.max() + 1, len(named), np.int64)
    np.minimum.at(least, found, named)
    return np.unique(least[found], return_inverse=True)[1].astype(np.int64).reshape(-1)
