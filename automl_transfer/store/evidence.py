"""Confirmations, audits and profiles of a study: rows that are written whole, each once."""

from __future__ import annotations

import functools

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from automl_transfer.domain.evidence import ExtraRun, ProfileRecord, RunKind
from automl_transfer.errors import StudyError
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.reading import is_there
from automl_transfer.store.store import Store
from automl_transfer.store.studies import deleted
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
        number = (
            sa.select(t.trials.c.trial_id)
            .join(t.at_studies, t.at_studies.c.study_id == t.trials.c.study_id)
            .where(t.at_studies.c.identity == study.identity, t.trials.c.number == run.root)
        )

        def step(connection: sa.Connection) -> bool:
            trial_id = connection.execute(number).scalar()
            if trial_id is None:
                return False
            row = {
                "trial_id": trial_id,
                "kind": run.kind,
                "run": run.run,
                "study_id": study.study_id,
                "result": run.model_dump_json(),
            }
            connection.execute(_insert_once(connection.dialect.name, t.at_confirmations), row)
            return True

        if not self._store.write(step, "keep a run"):
            raise StudyError(
                f"trial {run.root} must still be in study {study.name!r} when its run ends, it is gone"
            )

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
        """Keep a source's profile; the first one stays.

        Raises:
            StudyError: The study is gone.
        """
        row = {"study_id": study.study_id, "source": profile.source, "result": profile.model_dump_json()}

        def step(connection: sa.Connection) -> None:
            if not is_there(connection, study):
                raise deleted(study)
            connection.execute(_insert_once(connection.dialect.name, t.at_profiles), row)

        self._store.write(step, "keep a profile")

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


@functools.cache
def _insert_once(dialect: str, table: sa.Table) -> sa.Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    if "created" in table.c:
        statement = statement.values(created=now())
    return statement.on_conflict_do_nothing()
