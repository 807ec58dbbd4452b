"""Finds trials whose workers are lost, and fails each with exactly one child.

Any worker may reap at any time, many at once; killed at any statement, a reaper loses nothing,
because each trial is failed and continued in one transaction.

A lease is lost when its beat is older than `grace` *and* a reaper has watched it stay silent for
half of that. The second part is for the moment when a database comes back after an outage longer
than the grace period: all beats are old then, and the living need a moment to beat again. A lease is
lost at once where the caller knows that its worker is dead.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.store import continuing
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.store import Store
from automl_transfer.store.values import Reaped

log = logging.getLogger(__name__)


def reap(store: Store, study_id: int, *, grace: float, dead: Sequence[str] = ()) -> list[Reaped]:
    """Fail the trials of lost workers. Idempotent; safe from many processes at once.

    Three things are put right: leases that are overdue; trials of ours that run without a lease
    (something else than this package started them) for longer than `grace`; and leases of trials
    that something else has finished.

    Args:
        store: The store.
        study_id: The study whose workers are looked for.
        grace: Seconds on the database's clock; longer than the longest outage that workers ride
            out plus two beat intervals. 0 reaps every lease at once.
        dead: Workers whose processes are known to be gone.
    """
    if not dead and not store.read(lambda c: _work(c, study_id, grace), "look for lost workers"):
        return []
    lost = store.write(lambda c: _mark(c, study_id, grace, dead), "mark lost workers")
    reaped = []
    for trial_id in lost:
        nonce = uuid.uuid4().hex
        one = store.write(
            lambda c, trial_id=trial_id, nonce=nonce: _reap_one(  # type: ignore[misc]
                c, study_id, trial_id, grace, dead, nonce
            ),
            "continue a lost trial",
        )
        if one is not None:
            log.warning("reaped trial %d (root %d): %s; child: %s", one.number, one.root, one.stop, one.child)
            reaped.append(one)
    return reaped


def _stale(study_id: int) -> sa.ColumnElement[bool]:
    """Leases of a study whose trial runs no more: something else finished it."""
    running = sa.select(t.trials.c.trial_id).where(
        t.trials.c.trial_id == t.at_leases.c.trial_id, t.trials.c.state == rows.RUNNING
    )
    return sa.and_(t.at_leases.c.study_id == study_id, ~running.exists())


def _overdue(study_id: int, seconds: float) -> sa.ColumnElement[bool]:
    return sa.and_(t.at_leases.c.study_id == study_id, t.at_leases.c.beat <= now() - seconds)


def _orphans(study_id: int) -> sa.Select[int]:
    """Trials of ours that run without a lease."""
    return (
        sa.select(t.trials.c.trial_id)
        .join(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .outerjoin(t.at_leases, t.at_leases.c.trial_id == t.trials.c.trial_id)
        .where(
            t.trials.c.study_id == study_id,
            t.trials.c.state == rows.RUNNING,
            t.at_leases.c.trial_id.is_(None),
        )
    )


def _work(connection: sa.Connection, study_id: int, grace: float) -> bool:
    """Whether there is anything to do; most of the time there is not, and nothing is locked."""
    for condition in (_overdue(study_id, grace / 2), _stale(study_id)):
        if connection.execute(sa.select(t.at_leases.c.trial_id).where(condition).limit(1)).first():
            return True
    return connection.execute(_orphans(study_id).limit(1)).first() is not None


def _mark(connection: sa.Connection, study_id: int, grace: float, dead: Sequence[str]) -> list[int]:
    """Note what is suspected since when; returns the trials that are lost by now."""
    connection.execute(sa.delete(t.at_leases).where(_stale(study_id)))
    connection.execute(
        sa.update(t.at_leases)
        .where(_overdue(study_id, grace / 2), t.at_leases.c.suspected.is_(None))
        .values(suspected=now())
    )
    orphans = _orphans(study_id).subquery()
    connection.execute(
        sa.delete(t.at_sightings).where(
            t.at_sightings.c.trial_id.in_(
                sa.select(t.at_trials.c.trial_id).where(t.at_trials.c.study_id == study_id)
            ),
            t.at_sightings.c.trial_id.not_in(sa.select(orphans.c.trial_id)),
        )
    )
    known = sa.select(t.at_sightings.c.trial_id)
    connection.execute(
        sa.insert(t.at_sightings).from_select(
            ["trial_id", "first_seen"],
            sa.select(orphans.c.trial_id, now()).where(orphans.c.trial_id.not_in(known)),
        )
    )
    silent = sa.and_(_overdue(study_id, grace), t.at_leases.c.suspected <= now() - grace / 2)
    gone = sa.and_(t.at_leases.c.study_id == study_id, t.at_leases.c.worker.in_(dead))
    lost = connection.execute(sa.select(t.at_leases.c.trial_id).where(sa.or_(silent, gone))).scalars()
    unleased = connection.execute(
        sa.select(t.at_sightings.c.trial_id)
        .join(orphans, orphans.c.trial_id == t.at_sightings.c.trial_id)
        .where(t.at_sightings.c.first_seen <= now() - grace)
    ).scalars()
    return sorted([*lost, *unleased])


def _reap_one(
    connection: sa.Connection,
    study_id: int,
    trial_id: int,
    grace: float,
    dead: Sequence[str],
    nonce: str,
) -> Reaped | None:
    """Fail one trial and add its child, if it is still lost. None when someone was quicker."""
    rows.lock_study(connection, study_id)
    row = connection.execute(
        sa.select(
            t.trials.c.number,
            t.at_trials.c.root,
            t.at_trials.c.attempt,
            t.at_trials.c.stop,
            t.at_trials.c.worker,
            t.at_trials.c.closed_by,
        )
        .join(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .where(t.trials.c.trial_id == trial_id)
    ).first()
    if row is None:
        return None
    if row.closed_by == nonce:  # our first try was committed, only its answer was lost
        stop = StopReason.model_validate_json(row.stop)
        child = continuing.child_number(connection, trial_id)
        return Reaped(trial_id, row.number, row.root, row.attempt, row.worker, stop, child)
    lease = connection.execute(
        sa.select(t.at_leases.c.worker, (now() - t.at_leases.c.beat).label("age"))
        .where(t.at_leases.c.trial_id == trial_id)
        .with_for_update()
    ).first()
    if lease is not None and lease.worker in dead:
        detail = f"the process of worker {lease.worker} ended without giving it back"
    elif lease is not None and lease.age < grace:
        return None  # it beat after all
    elif lease is not None:
        detail = f"worker {lease.worker} was silent for {lease.age:.0f} s"
    else:
        seen = sa.select(t.at_sightings.c.trial_id).where(t.at_sightings.c.trial_id == trial_id)
        if connection.execute(seen).first() is None:
            return None
        detail = "it ran without a lease: something else than automl-transfer started it"
    if not rows.set_state(connection, trial_id, rows.to_optuna(TrialState.FAIL)):
        return None
    stop = StopReason(kind=StopKind.CRASHED, detail=detail)
    connection.execute(sa.delete(t.at_leases).where(t.at_leases.c.trial_id == trial_id))
    connection.execute(sa.delete(t.at_sightings).where(t.at_sightings.c.trial_id == trial_id))
    connection.execute(
        sa.update(t.at_trials)
        .where(t.at_trials.c.trial_id == trial_id)
        .values(closed_by=nonce, stop=stop.model_dump_json())
    )
    rows.describe_end(connection, trial_id, stop, None)
    child = continuing.make_child(connection, trial_id)
    return Reaped(trial_id, row.number, row.root, row.attempt, row.worker, stop, child)
