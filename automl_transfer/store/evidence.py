"""Confirmations, audits, profiles and test looks of a study: rows that are written whole, each once."""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from automl_transfer.domain.evidence import ExtraRun, FailedRun, ProfileRecord, RunKind, TestLook
from automl_transfer.errors import StudyError
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.optuna_rows import lock_study, upsert
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle


class Evidence:
    """Reads and adds evidence about studies of one store.

    A row is written in one statement: a process that dies leaves it whole or not there. What is there
    stays: a second writer of the same run, or the same one after a lost answer, changes nothing. Safe
    from any number of processes.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def add_run(self, study: StudyHandle, run: ExtraRun) -> None:
        """Keep a run. Where this run of the strategy is known already, the earlier one stays.

        Raises:
            StudyError: The study has no trial of this number any more.
        """

        def step(connection: sa.Connection) -> None:
            row = _row(connection, study, run)
            connection.execute(_insert_once(connection.dialect.name, t.at_confirmations), row)
            failed = t.at_failed_runs.c
            connection.execute(
                sa.delete(t.at_failed_runs).where(
                    failed.trial_id == row["trial_id"], failed.kind == run.kind, failed.run == run.run
                )
            )

        self._store.write(step, "keep a run")

    def add_failure(self, study: StudyHandle, failed: FailedRun) -> None:
        """Keep why a run failed; the last reason stays, until the run succeeds.

        Raises:
            StudyError: The study has no trial of this number any more.
        """
        keys = ("trial_id", "kind", "run")
        self._store.write(
            lambda c: upsert(c, t.at_failed_runs, keys, _row(c, study, failed)), "keep a failed run"
        )

    def failures(self, study: StudyHandle | int, kind: RunKind | None = None) -> list[FailedRun]:
        """All failed runs of a study, by strategy and number."""
        table, study_id = t.at_failed_runs, study if isinstance(study, int) else study.study_id
        query = (
            sa.select(table.c.result)
            .where(table.c.study_id == study_id)
            .order_by(table.c.kind, table.c.trial_id, table.c.run)
        )
        if kind is not None:
            query = query.where(table.c.kind == kind)
        found = self._store.read(lambda c: c.execute(query).scalars().all(), "read failed runs")
        return [FailedRun.model_validate_json(text) for text in found]

    def add_look(self, study: StudyHandle, look: TestLook) -> None:
        """Keep that a winner was judged on the test split; the same look twice is one."""
        table = t.at_test_looks

        def step(connection: sa.Connection) -> None:
            lock_study(connection, study.study_id)
            query = sa.select(table.c.result).where(table.c.study_id == study.study_id)
            known = connection.execute(query).scalars().all()
            text = look.model_dump_json()
            if text not in known:
                row = {"study_id": study.study_id, "look": len(known), "result": text}
                connection.execute(sa.insert(table).values(created=now()), row)

        self._store.write(step, "keep a look at the test split")

    def looks(self, study: StudyHandle | int) -> list[TestLook]:
        """All looks at the test split, in order."""
        study_id = study if isinstance(study, int) else study.study_id
        table = t.at_test_looks
        query = sa.select(table.c.result).where(table.c.study_id == study_id).order_by(table.c.look)
        found = self._store.read(lambda c: c.execute(query).scalars().all(), "read looks at the test split")
        return [TestLook.model_validate_json(text) for text in found]

    def runs(self, study: StudyHandle | int, kind: RunKind | None = None) -> list[ExtraRun]:
        """All runs of a study, by strategy and number."""
        study_id = study if isinstance(study, int) else study.study_id
        query = (
            sa.select(t.at_confirmations.c.result)
            .where(t.at_confirmations.c.study_id == study_id)
            .order_by(t.at_confirmations.c.kind, t.at_confirmations.c.trial_id, t.at_confirmations.c.run)
        )
        if kind is not None:
            query = query.where(t.at_confirmations.c.kind == kind)
        found = self._store.read(lambda c: c.execute(query).scalars().all(), "read runs")
        return [ExtraRun.model_validate_json(text) for text in found]

    def add_profile(self, study: StudyHandle, profile: ProfileRecord) -> None:
        """Keep a source's profile; the first one stays."""
        row = {"study_id": study.study_id, "source": profile.source, "result": profile.model_dump_json()}
        self._store.write(
            lambda c: c.execute(_insert_once(c.dialect.name, t.at_profiles), row) and None, "keep a profile"
        )

    def profiles(self, study: StudyHandle | int) -> list[ProfileRecord]:
        """The profiles of a study's sources, by name."""
        study_id = study if isinstance(study, int) else study.study_id
        query = (
            sa.select(t.at_profiles.c.result)
            .where(t.at_profiles.c.study_id == study_id)
            .order_by(t.at_profiles.c.source)
        )
        found = self._store.read(lambda c: c.execute(query).scalars().all(), "read profiles")
        return [ProfileRecord.model_validate_json(text) for text in found]


def _row(connection: sa.Connection, study: StudyHandle, run: ExtraRun | FailedRun) -> dict[str, Any]:
    """A run as a row. Raises StudyError where its trial is gone."""
    number = sa.select(t.trials.c.trial_id).where(
        t.trials.c.study_id == study.study_id, t.trials.c.number == run.root
    )
    trial_id = connection.execute(number).scalar()
    if trial_id is None:
        raise StudyError(
            f"trial {run.root} must still be in study {study.name!r} when its run ends, it is gone"
        )
    return {
        "trial_id": trial_id,
        "kind": run.kind,
        "run": run.run,
        "study_id": study.study_id,
        "result": run.model_dump_json(),
    }


@functools.cache
def _insert_once(dialect: str, table: sa.Table) -> sa.Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    if "created" in table.c:
        statement = statement.values(created=now())
    return statement.on_conflict_do_nothing()
