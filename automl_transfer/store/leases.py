"""Leases: who may run and write a trial, from taking it to ending it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from optuna.artifacts import ArtifactMeta

from automl_transfer.domain.records import StopReason, TrialOutcome
from automl_transfer.errors import TrialLostError
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.values import Claim


def take(connection: sa.Connection, study_id: int, trial_id: int, worker: str, token: str) -> None:
    """Lease a trial that runs from now on; replaces a lease that was left over."""
    row = {
        "trial_id": trial_id,
        "study_id": study_id,
        "worker": worker[:200],
        "token": token,
        "suspected": None,
        "epoch": None,
        "restarted": False,
    }
    rows.upsert(connection, t.at_leases, ("trial_id",), row, clocks=("claimed", "beat"))


def lost(claim: Claim) -> TrialLostError:
    """The error for a claim that is no longer good."""
    return TrialLostError(
        f"trial {claim.number} (root {claim.root}, attempt {claim.attempt}) belongs to this worker only "
        "while its lease lasts; it was reaped, finished or deleted. Stop training it and write nothing"
    )


def must(done: bool, claim: Claim) -> None:
    """Undo the transaction unless a step that needs the claim was done."""
    if not done:
        raise lost(claim)


def fence(connection: sa.Connection, claim: Claim, *, epoch: int | None = None) -> None:
    """Hold the lease until the transaction's end, beat, and check that the trial runs."""
    running = sa.select(t.trials.c.trial_id).where(
        t.trials.c.trial_id == t.at_leases.c.trial_id, t.trials.c.state == rows.RUNNING
    )
    changes = {"beat": now(), "suspected": None, **({} if epoch is None else {"epoch": epoch})}
    statement = (
        sa.update(t.at_leases).where(t.at_leases.c.token == claim.token, running.exists()).values(changes)
    )
    must(connection.execute(statement).rowcount == 1, claim)


def close(
    connection: sa.Connection,
    claim: Claim,
    stop: StopReason,
    outcome: TrialOutcome | None,
    artifacts: Sequence[ArtifactMeta] = (),
) -> bool:
    """End a lease with its reason; False when this very claim ended it before.

    Raises:
        TrialLostError: The lease is someone else's.
    """
    gone = connection.execute(sa.delete(t.at_leases).where(t.at_leases.c.token == claim.token))
    if gone.rowcount == 0:
        closed_by = sa.select(t.at_trials.c.closed_by).where(t.at_trials.c.trial_id == claim.trial_id)
        if connection.execute(closed_by).scalar() == claim.token:
            return False
        raise lost(claim)
    connection.execute(
        sa.update(t.at_trials)
        .where(t.at_trials.c.trial_id == claim.trial_id)
        .values(
            closed_by=claim.token,
            stop=stop.model_dump_json(),
            outcome=outcome.model_dump_json() if outcome is not None else None,
        )
    )
    rows.describe_end(connection, claim.trial_id, stop, outcome)
    rows.attach(connection, claim.trial_id, artifacts)
    return True
