"""Our tables, beside Optuna's in the same database. Every name begins with `at_`.

State, value, params and intermediate values live in Optuna's tables only. Rows here disappear with
Optuna's, whoever deletes those: by foreign keys on PostgreSQL, by triggers on SQLite (where foreign
keys are a setting of each connection, off in other programs, and row numbers are used again).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.functions import FunctionElement

from automl_transfer.store import optuna_names

PREFIX = "at_"
SAID = 2000
"""Characters of a strategy that are in an index: PostgreSQL takes at most 2,700 bytes."""

# Optuna's own, as Core tables. Only store/ touches them.
studies = optuna_names.studies
directions = optuna_names.directions
trials = optuna_names.trials
params = optuna_names.params
values = optuna_names.values
intermediate = optuna_names.intermediate
user_attributes = optuna_names.user_attributes
system_attributes = optuna_names.system_attributes
heartbeats = optuna_names.heartbeats
study_user_attributes = optuna_names.study_user_attributes
study_system_attributes = optuna_names.study_system_attributes


class Base(DeclarativeBase):
    """Metadata of our tables; constraint names are fixed so that migrations can find them."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _study_key() -> sa.ForeignKey:
    return sa.ForeignKey(studies.c.study_id, ondelete="CASCADE")


def _trial_key() -> sa.ForeignKey:
    return sa.ForeignKey(trials.c.trial_id, ondelete="CASCADE")


class StudyRow(Base):
    """A study of ours: everything a worker needs to know before it touches data.

    `identity` is the study's own for ever: names are given again, and so are SQLite's row numbers.
    """

    __tablename__ = "at_studies"

    study_id: Mapped[int] = mapped_column(_study_key(), primary_key=True, autoincrement=False)
    spec: Mapped[str] = mapped_column(sa.Text)
    task: Mapped[str] = mapped_column(sa.Text)
    artifact_url: Mapped[str] = mapped_column(sa.Text)
    sources: Mapped[str] = mapped_column(sa.Text)
    created: Mapped[float] = mapped_column(sa.Float(53))
    identity: Mapped[str] = mapped_column(sa.String(32), unique=True)


class TrialRow(Base):
    """A trial of ours. `parent` is unique: a crashed trial has at most one child, by the database."""

    __tablename__ = "at_trials"
    __table_args__ = (sa.UniqueConstraint("study_id", "once"),)

    trial_id: Mapped[int] = mapped_column(_trial_key(), primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(_study_key(), index=True)
    root: Mapped[int]
    parent: Mapped[int | None] = mapped_column(unique=True)
    attempt: Mapped[int]
    strategy: Mapped[str] = mapped_column(sa.Text)
    label: Mapped[str] = mapped_column(sa.String(64))
    once: Mapped[str | None] = mapped_column(sa.String(200))
    created_by: Mapped[str] = mapped_column(sa.String(32), unique=True)
    closed_by: Mapped[str | None] = mapped_column(sa.String(32))
    worker: Mapped[str | None] = mapped_column(sa.String(200))
    stop: Mapped[str | None] = mapped_column(sa.Text)
    outcome: Mapped[str | None] = mapped_column(sa.Text)
    restarts: Mapped[int]


class EpochRow(Base):
    """One epoch of one trial, inherited ones included."""

    __tablename__ = "at_epochs"

    trial_id: Mapped[int] = mapped_column(_trial_key(), primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    result: Mapped[str] = mapped_column(sa.Text)


class LeaseRow(Base):
    """The right to run a trial. Exists exactly while a worker holds it; `token` fences every write.

    `suspected` is when a reaper first saw the beat overdue; a beat clears it.
    """

    __tablename__ = "at_leases"

    trial_id: Mapped[int] = mapped_column(_trial_key(), primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(_study_key(), index=True)
    worker: Mapped[str] = mapped_column(sa.String(200))
    token: Mapped[str] = mapped_column(sa.String(32), unique=True)
    claimed: Mapped[float] = mapped_column(sa.Float(53))
    beat: Mapped[float] = mapped_column(sa.Float(53))
    suspected: Mapped[float | None] = mapped_column(sa.Float(53))
    epoch: Mapped[int | None]
    restarted: Mapped[bool]


class CheckpointRow(Base):
    """Where the state after an epoch lies in the artifact store."""

    __tablename__ = "at_checkpoints"

    trial_id: Mapped[int] = mapped_column(_trial_key(), primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    uri: Mapped[str] = mapped_column(sa.Text)
    sha256: Mapped[str] = mapped_column(sa.String(64))
    bytes: Mapped[int] = mapped_column(sa.BigInteger)
    conditions: Mapped[str] = mapped_column(sa.Text)


class SightingRow(Base):
    """A trial of ours that runs without a lease, and when a reaper first saw that."""

    __tablename__ = "at_sightings"

    trial_id: Mapped[int] = mapped_column(_trial_key(), primary_key=True, autoincrement=False)
    first_seen: Mapped[float] = mapped_column(sa.Float(53))


class ConfirmationRow(Base):
    """One more training of a trial's strategy: a confirmation, or an audit of a pruned trial."""

    __tablename__ = "at_confirmations"

    trial_id: Mapped[int] = mapped_column(_trial_key(), primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    run: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(_study_key(), index=True)
    result: Mapped[str] = mapped_column(sa.Text)
    created: Mapped[float] = mapped_column(sa.Float(53))


class ProfileRow(Base):
    """The profile of one source on a study's task."""

    __tablename__ = "at_profiles"

    study_id: Mapped[int] = mapped_column(_study_key(), primary_key=True, autoincrement=False)
    source: Mapped[str] = mapped_column(sa.String(300), primary_key=True)
    result: Mapped[str] = mapped_column(sa.Text)


class ClaimRow(Base):
    """A piece of work of a study that one process has taken on; others leave it alone while it beats.

    `ends` is when the holder's search for strategies ends; None where that is not limited.
    """

    __tablename__ = "at_claims"

    study_id: Mapped[int] = mapped_column(_study_key(), primary_key=True, autoincrement=False)
    work: Mapped[str] = mapped_column(sa.String(300), primary_key=True)
    token: Mapped[str] = mapped_column(sa.String(32))
    worker: Mapped[str] = mapped_column(sa.String(200))
    beat: Mapped[float] = mapped_column(sa.Float(53))
    ends: Mapped[float | None] = mapped_column(sa.Float(53))


class RungRow(Base):
    """What a strategy had at a rung, where trials pause and the best of them go on; once for each rung.

    `taken` is the token of the claim that went on from here, `ENDED` where none ever will, and None as long
    as the trial is paused. `changed` is when that was written, on the database's clock.
    """

    __tablename__ = "at_rungs"
    __table_args__ = (sa.Index(None, "study_id", "changed"),)

    study_id: Mapped[int] = mapped_column(_study_key(), primary_key=True, autoincrement=False)
    root: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rung: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trial_id: Mapped[int] = mapped_column(_trial_key(), index=True)
    bracket: Mapped[str] = mapped_column(sa.String(32))
    value: Mapped[float] = mapped_column(sa.Float(53))
    loss: Mapped[float] = mapped_column(sa.Float(53))
    seconds: Mapped[float] = mapped_column(sa.Float(53))
    taken: Mapped[str | None] = mapped_column(sa.String(32))
    changed: Mapped[float] = mapped_column(sa.Float(53))


class FailedRunRow(Base):
    """A confirmation or audit that failed, with its reason; a later success takes it away."""

    __tablename__ = "at_failed_runs"

    trial_id: Mapped[int] = mapped_column(_trial_key(), primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    run: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(_study_key(), index=True)
    result: Mapped[str] = mapped_column(sa.Text)


class TestLookRow(Base):
    """One evaluation of a winner on the test split, counted from 0 within its study."""

    __tablename__ = "at_test_looks"

    study_id: Mapped[int] = mapped_column(_study_key(), primary_key=True, autoincrement=False)
    look: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    result: Mapped[str] = mapped_column(sa.Text)
    created: Mapped[float] = mapped_column(sa.Float(53))


class SignatureRow(Base):
    """The signature of a task, by its fingerprint; once, however many studies have the task."""

    __tablename__ = "at_signatures"

    task: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    result: Mapped[str] = mapped_column(sa.Text)
    created: Mapped[float] = mapped_column(sa.Float(53))


at_studies: sa.Table = StudyRow.__table__  # type: ignore[assignment]
at_trials: sa.Table = TrialRow.__table__  # type: ignore[assignment]
at_epochs: sa.Table = EpochRow.__table__  # type: ignore[assignment]
at_leases: sa.Table = LeaseRow.__table__  # type: ignore[assignment]
at_checkpoints: sa.Table = CheckpointRow.__table__  # type: ignore[assignment]
at_sightings: sa.Table = SightingRow.__table__  # type: ignore[assignment]
at_confirmations: sa.Table = ConfirmationRow.__table__  # type: ignore[assignment]
at_profiles: sa.Table = ProfileRow.__table__  # type: ignore[assignment]
at_claims: sa.Table = ClaimRow.__table__  # type: ignore[assignment]
at_rungs: sa.Table = RungRow.__table__  # type: ignore[assignment]
at_failed_runs: sa.Table = FailedRunRow.__table__  # type: ignore[assignment]
at_test_looks: sa.Table = TestLookRow.__table__  # type: ignore[assignment]
at_signatures: sa.Table = SignatureRow.__table__  # type: ignore[assignment]


class said(FunctionElement[str]):  # noqa: N801  (reads as the SQL function it is)
    """What a row says of its strategy, without the version that wrote it; as much as an index takes."""

    type = sa.Text()
    inherit_cache = True


@compiles(said, "sqlite")
def _said_sqlite(element: said, compiler: Any, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    return f"substr({column}, instr({column}, ',') + 1, {SAID})"


@compiles(said, "postgresql")
def _said_postgresql(element: said, compiler: Any, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    return f"substr({column}, strpos({column}, ',') + 1, {SAID})"


BY_STRATEGY = sa.Index("ix_at_trials_said", at_trials.c.study_id, said(at_trials.c.strategy))
"""Finds the trial of a strategy, whatever the size of the study."""
PAUSED_NOW = sa.Index(
    "ix_at_rungs_paused",
    at_rungs.c.study_id,
    postgresql_where=at_rungs.c.taken.is_(None),
    sqlite_where=at_rungs.c.taken.is_(None),
)
"""Finds what is paused; few trials are, and most rows are of others."""
OF_OPTUNA = {
    "ix_at_trials_state": "CREATE INDEX ix_at_trials_state ON trials (study_id, state)",
    "ix_at_trials_number": "CREATE INDEX ix_at_trials_number ON trials (study_id, number)",
}
"""Indexes of ours on Optuna's table of trials: the open ones are few among many, and so is the last one."""
for _statement in OF_OPTUNA.values():
    sa.event.listen(Base.metadata, "after_create", sa.DDL(_statement))  # type: ignore[no-untyped-call, unused-ignore]


def is_paused(trial_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether a WAITING trial is paused at a rung, within a query."""
    return sa.exists().where(at_rungs.c.trial_id == trial_id, at_rungs.c.taken.is_(None))


def pauses() -> sa.ColumnElement[bool]:
    """What joins a paused trial with the rung where it is; no other trial has any."""
    waits = trials.c.state == OptunaState.WAITING
    return sa.and_(at_rungs.c.trial_id == trials.c.trial_id, at_rungs.c.taken.is_(None), waits)


def _delete_along(name: str, owner: str, key: str, *tables: sa.Table) -> None:
    """With our tables comes a trigger on SQLite, which deletes their rows with a row of Optuna's."""
    deletes = " ".join(f"DELETE FROM {table.name} WHERE {key} = OLD.{key};" for table in tables)  # noqa: S608
    statement = f"CREATE TRIGGER {name} AFTER DELETE ON {owner} BEGIN {deletes} END"
    trigger = sa.DDL(statement)  # type: ignore[no-untyped-call, unused-ignore]
    sa.event.listen(Base.metadata, "after_create", trigger.execute_if(dialect="sqlite"))


_delete_along(
    "at_trial_deleted", "trials", "trial_id", at_trials, at_epochs, at_leases, at_checkpoints, at_sightings
)
_delete_along("at_study_deleted", "studies", "study_id", at_studies)
_delete_along("at_confirmations_deleted", "trials", "trial_id", at_confirmations)
_delete_along("at_profiles_deleted", "studies", "study_id", at_profiles)
_delete_along("at_claims_deleted", "studies", "study_id", at_claims)
_delete_along("at_failed_runs_deleted", "trials", "trial_id", at_failed_runs)
_delete_along("at_test_looks_deleted", "studies", "study_id", at_test_looks)
_delete_along("at_rungs_deleted", "trials", "trial_id", at_rungs)
