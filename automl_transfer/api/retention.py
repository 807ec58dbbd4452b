"""Which checkpoints and models of a study are still needed: the rule behind `study gc`.

Kept: everything of strategies that are still open, everything of the best ones, and whatever is not
known to belong to a closed trial. Safe while workers run: a trial that has ended never runs again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from automl_transfer.reporting.ranking import rank
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import StudyHandle

KEPT_STRATEGIES = 5


@dataclass(frozen=True)
class Garbage:
    """What may be dropped.

    Attributes:
        keys: In the artifact store.
        freed: Bytes.
        kept: Number of files that stay.
    """

    keys: tuple[str, ...]
    freed: int
    kept: int


def collect_garbage(store: Store, study: StudyHandle, *, dry_run: bool = False) -> Garbage:
    """Drop the files of a study that no open trial and none of the best strategies needs.

    Args:
        store: Where the study is.
        study: Whose files are looked at.
        dry_run: Only say what would be dropped.

    Raises:
        OutputError: A file cannot be removed.
    """
    artifacts = ArtifactStore(study.artifact_url)
    # Files first, trials second: a trial that ends in between still counts with all its files.
    keys = artifacts.list()
    read = Trials(store).read(study)
    records = read.records
    unfinished = {record.root for record in records if not record.state.finished}
    unfinished |= {row.root for row in read.unreadable if row.root is not None}
    closed = {record.root for record in records} - unfinished
    ranking = rank(records, study.task, study.name)
    best = {row.root_trial for row in ranking.rows[:KEPT_STRATEGIES]}
    dropped = [key for key in keys if _root(key) in closed - best]
    freed = sum(artifacts.size(key) for key in dropped)
    if not dry_run:
        for key in dropped:
            artifacts.delete(key)
    return Garbage(tuple(dropped), freed, len(keys) - len(dropped))


def _root(key: str) -> int | None:
    found = re.match(r"trial-(\d+)/", key)
    return int(found[1]) if found else None
