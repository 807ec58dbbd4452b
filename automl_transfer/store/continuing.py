"""What a trial leaves to its continuation: its curve up to the last checkpoint, and one child."""

from __future__ import annotations

import json
import uuid

import sqlalchemy as sa

from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import parsing
from automl_transfer.store import tables as t

NOTHING = -1
"""The epoch to keep when there is no checkpoint: epochs count from 0."""


def last_checkpoint(connection: sa.Connection, trial_id: int) -> int:
    """Epoch of a trial's newest checkpoint; `NOTHING` without one."""
    query = sa.select(sa.func.max(t.at_checkpoints.c.epoch)).where(t.at_checkpoints.c.trial_id == trial_id)
    epoch = connection.execute(query).scalar()
    return NOTHING if epoch is None else int(epoch)


def trim_to_checkpoint(connection: sa.Connection, trial_id: int) -> None:
    """Forget the epochs after the newest checkpoint: they will be trained again."""
    keep = last_checkpoint(connection, trial_id)
    connection.execute(
        sa.delete(t.at_epochs).where(t.at_epochs.c.trial_id == trial_id, t.at_epochs.c.epoch > keep)
    )
    connection.execute(
        sa.delete(t.intermediate).where(t.intermediate.c.trial_id == trial_id, t.intermediate.c.step > keep)
    )


def clear(connection: sa.Connection, trial_id: int) -> None:
    """Forget a trial's curve and checkpoints."""
    connection.execute(sa.delete(t.at_checkpoints).where(t.at_checkpoints.c.trial_id == trial_id))
    trim_to_checkpoint(connection, trial_id)


def child_number(connection: sa.Connection, trial_id: int) -> int | None:
    """The number of a trial's child, if it has one."""
    query = (
        sa.select(t.trials.c.number)
        .join(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .where(t.at_trials.c.parent == trial_id)
    )
    return connection.execute(query).scalar()


def make_child(connection: sa.Connection, trial_id: int) -> int | None:
    """Add the one WAITING child of a failed trial. The study must be locked.

    The parent's strategy is handed on as it is: a newer program's too, which this one cannot read.

    Args:
        connection: In the transaction that fails the parent.
        trial_id: The parent.

    Returns:
        The child's number; None when the study's attempts are used up, or its rows do not say.
    """
    parent = connection.execute(
        sa.select(t.at_trials, t.at_studies.c.spec)
        .join(t.at_studies, t.at_studies.c.study_id == t.at_trials.c.study_id)
        .where(t.at_trials.c.trial_id == trial_id)
    ).one()
    try:
        attempt = parsing.whole(parent.attempt, "attempt") + 1
        allowed = int(json.loads(parent.spec)["search"]["max_attempts"])
    except (UnreadableRowError, TypeError, ValueError, KeyError, RecursionError):
        return None
    if attempt >= allowed:
        return None
    child, number = rows.insert_trial(connection, parent.study_id, rows.WAITING)
    connection.execute(
        sa.insert(t.at_trials),
        {
            "trial_id": child,
            "study_id": parent.study_id,
            "root": parent.root,
            "parent": trial_id,
            "attempt": attempt,
            "strategy": parent.strategy,
            "label": parent.label,
            "created_by": uuid.uuid4().hex,
            "restarts": 0,
        },
    )
    keep = last_checkpoint(connection, trial_id)
    rows.copy_trial_rows(connection, trial_id, child, keep)
    for table, condition in (
        (t.at_epochs, t.at_epochs.c.epoch <= keep),
        (t.at_checkpoints, t.at_checkpoints.c.epoch == keep),
    ):
        names = [c.name for c in table.columns if c.name != "trial_id"]
        inherited = sa.select(sa.literal(child), *(table.c[n] for n in names)).where(
            table.c.trial_id == trial_id, condition
        )
        connection.execute(sa.insert(table).from_select(["trial_id", *names], inherited))
    rows.describe_child(connection, trial_id, child, parent.root, attempt)
    return number
