"""Which checkpoints and models of a study are still needed: the rule behind `study gc`.

Kept: everything of strategies that are still open, everything of the best ones in the order of the ranking
(confirmed ones first), whatever is not known to belong to a closed trial, and every file of another study.
Safe while workers run: a trial that has ended never runs again.
"""

from __future__ import annotations

from dataclasses import dataclass

from automl_transfer.errors import OutputError
from automl_transfer.reporting.ranking import rank
from automl_transfer.search.checkpoints import move_earlier
from automl_transfer.store import claiming
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.files import root_of, study_files
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

    What a version before identities left of this study beyond doubt is moved among its files first.

    Args:
        store: Where the study is.
        study: Whose files are looked at.
        dry_run: Only say what would be dropped.

    Raises:
        OutputError: A file cannot be removed.
        StudyError: The study is gone.
    """
    trials, files = Trials(store), study_files(study)
    if not dry_run:
        named = store.read(lambda c: claiming.checkpoints(c, study.study_id), "read checkpoints")
        move_earlier(study, trials.records(study), named)
    # Files first, trials second: a trial that ends in between still counts with all its files.
    keys = files.list()
    read = trials.read(study)
    records = read.records
    unfinished = {record.root for record in records if record.is_open}
    unfinished |= {row.root for row in read.unreadable if row.root is not None}
    closed = {record.root for record in records} - unfinished
    ranking = rank(
        records,
        study.task,
        study.name,
        Evidence(store).runs(study, "confirm"),
        confirm_runs=study.spec.search.confirm_runs,
        failed={failure.root for failure in Evidence(store).failures(study, "confirm")},
    )
    best = {row.root_trial for row in ranking.rows[:KEPT_STRATEGIES]}
    dropped = [key for key in keys if root_of(key) in closed - best]
    freed = sum(files.size(key) for key in dropped)
    if not dry_run:
        store.again(study)  # deleted meanwhile, its records above may have been another's
        try:
            for key in dropped:
                files.delete_file(key)
        except OSError as error:
            raise OutputError(
                f"files of the study must be removable, got {error}: give write permission to {files.url}"
            ) from error
    return Garbage(tuple(dropped), freed, len(keys) - len(dropped))
