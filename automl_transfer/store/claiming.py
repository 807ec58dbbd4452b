"""Taking the oldest waiting trial that this program can run, within one transaction."""

from __future__ import annotations

import contextlib
from typing import Any

import sqlalchemy as sa

from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialState
from automl_transfer.domain.stored_strategy import read_strategy
from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import leases, parsing, reading
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.values import CheckpointRef, Claim, StudyHandle


def take_oldest(
    connection: sa.Connection, study: StudyHandle, worker: str, token: str, passed: set[int]
) -> Claim | None:
    """Lease the oldest WAITING trial that can be run here; None where there is none.

    Args:
        connection: Of the transaction.
        study: Whose trial it is.
        worker: Who takes it.
        token: Of the lease.
        passed: Ids of trials that only a newer program can run; those that are met are added.
    """
    last = -1
    while True:
        oldest = (
            reading.waiting(study)
            .where(t.trials.c.trial_id > last)
            .order_by(t.trials.c.trial_id)
            .limit(1)
            .with_for_update(of=t.trials, skip_locked=True, key_share=True)
        )
        trial_id = connection.execute(oldest).scalar()
        if trial_id is None:
            return None
        last = trial_id
        if trial_id in passed:
            continue
        try:
            claim = read_claim(connection, trial_id, token)
        except UnreadableRowError as error:
            if error.newer:
                passed.add(trial_id)
            else:
                give_up(connection, trial_id, error)
            continue
        begin(connection, claim, worker)
        return claim


def begin(connection: sa.Connection, claim: Claim, worker: str) -> bool:
    """Lease a WAITING trial, which runs from now on; False where something else ended it."""
    if not rows.set_state(connection, claim.trial_id, rows.RUNNING, expected=rows.WAITING):
        return False
    mine = t.at_trials.c.trial_id == claim.trial_id
    connection.execute(sa.update(t.at_trials).where(mine).values(worker=worker[:200]))
    leases.take(connection, claim.study_id, claim.trial_id, worker, claim.token)
    return True


def held(connection: sa.Connection, token: str) -> Claim | None:
    """What an earlier try with this token took, whose answer was lost."""
    lease = sa.select(t.at_leases.c.trial_id).where(t.at_leases.c.token == token)
    trial_id = connection.execute(lease).scalar()
    return None if trial_id is None else read_claim(connection, trial_id, token)


def read_claim(connection: sa.Connection, trial_id: int, token: str) -> Claim:
    """Everything a worker needs to run a trial.

    Raises:
        UnreadableRowError: This program cannot run it; `newer` where a later one can.
    """
    row = connection.execute(
        sa.select(t.at_trials, t.trials.c.number)
        .join(t.trials, t.trials.c.trial_id == t.at_trials.c.trial_id)
        .where(t.at_trials.c.trial_id == trial_id)
    ).one()
    strategy = read_strategy(row.strategy)
    p = t.params
    for name, value, text in connection.execute(
        sa.select(p.c.param_name, parsing.raw(p.c.param_value), p.c.distribution_json).where(
            p.c.trial_id == trial_id
        )
    ):
        parsing.parameter(parsing.distribution(text, name), value, name)
    epochs = connection.execute(
        sa.select(t.at_epochs.c.result)
        .where(t.at_epochs.c.trial_id == trial_id)
        .order_by(t.at_epochs.c.epoch)
    ).scalars()
    saved = connection.execute(
        sa.select(t.at_checkpoints)
        .where(t.at_checkpoints.c.trial_id == trial_id)
        .order_by(t.at_checkpoints.c.epoch.desc())
        .limit(1)
    ).first()
    return Claim(
        study_id=row.study_id,
        trial_id=trial_id,
        number=parsing.whole(row.number, "number"),
        root=parsing.whole(row.root, "root"),
        attempt=parsing.whole(row.attempt, "attempt"),
        token=token,
        strategy=strategy,
        epochs=tuple(parsing.model(EpochResult, text, "curve") for text in epochs),
        checkpoint=None if saved is None else checkpoint_of(saved),
        label=row.label,
    )


def checkpoint_of(row: sa.Row[Any]) -> CheckpointRef:
    """Where a trial's state lies.

    Raises:
        UnreadableRowError: This program cannot read it.
    """
    if not isinstance(row.uri, str) or not isinstance(row.sha256, str):
        raise UnreadableRowError(f"its checkpoint must have a place and a digest, got {str(row)[:80]}")
    epoch, size = (
        parsing.whole(row.epoch, "checkpoint's epoch"),
        parsing.whole(row.bytes, "checkpoint's size"),
    )
    return CheckpointRef(epoch, row.uri, row.sha256, size)


def checkpoints(connection: sa.Connection, study_id: int) -> list[tuple[int, CheckpointRef]]:
    """Every checkpoint that is named and can be read, with its root."""
    query = (
        sa.select(t.at_trials.c.root, t.at_checkpoints)
        .join(t.at_trials, t.at_trials.c.trial_id == t.at_checkpoints.c.trial_id)
        .where(t.at_trials.c.study_id == study_id)
    )
    found = []
    for row in connection.execute(query):
        with contextlib.suppress(UnreadableRowError):
            found.append((parsing.whole(row.root, "root"), checkpoint_of(row)))
    return found


def give_up(connection: sa.Connection, trial_id: int, error: UnreadableRowError) -> None:
    """Fail a WAITING trial that no program can read, without a child: it would be as unreadable."""
    stop = StopReason(kind=StopKind.STORE, detail=f"no worker can run it: {error}"[:1800])
    rows.set_state(connection, trial_id, rows.to_optuna(TrialState.FAIL), expected=rows.WAITING)
    connection.execute(
        sa.update(t.at_trials)
        .where(t.at_trials.c.trial_id == trial_id)
        .values(stop=stop.model_dump_json(), outcome=None)
    )
    rows.describe_end(connection, trial_id, stop, None)
