"""Confirmations, audits and profiles of a study: rows that are written whole, each once."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TypeVar

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects import postgresql, sqlite

from automl_transfer.domain.evidence import ExtraRun, ProfileRecord, RunKind
from automl_transfer.domain.records import UnreadableRow
from automl_transfer.errors import StudyError, UnreadableRowError
from automl_transfer.store import parsing
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.reading import is_there
from automl_transfer.store.store import Store
from automl_transfer.store.studies import deleted
from automl_transfer.store.values import StudyHandle

M = TypeVar("M", bound=BaseModel)


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
        """All runs of a study that can be read, by strategy and number."""
        return self._runs(study, kind)[0]

    def _runs(
        self, study: StudyHandle | int, kind: RunKind | None
    ) -> tuple[list[ExtraRun], list[UnreadableRow]]:
        study_id = study if isinstance(study, int) else study.study_id
        query = (
            sa.select(t.at_confirmations.c.result, t.at_confirmations.c.kind, t.at_confirmations.c.run)
            .where(t.at_confirmations.c.study_id == study_id)
            .order_by(t.at_confirmations.c.kind, t.at_confirmations.c.trial_id, t.at_confirmations.c.run)
        )
        if kind is not None:
            query = query.where(t.at_confirmations.c.kind == kind)
        found = self._store.read(lambda c: c.execute(query).all(), "read runs")
        return _readable(ExtraRun, ((row.result, f"run {row.run} of kind {row.kind!r}") for row in found))

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
        """The profiles of a study's sources that can be read, by name."""
        return self._profiles(study)[0]

    def unreadable(self, study: StudyHandle | int) -> list[UnreadableRow]:
        """Runs and profiles that this program cannot read: they are left out elsewhere."""
        return [*self._runs(study, None)[1], *self._profiles(study)[1]]

    def _profiles(self, study: StudyHandle | int) -> tuple[list[ProfileRecord], list[UnreadableRow]]:
        study_id = study if isinstance(study, int) else study.study_id
        query = (
            sa.select(t.at_profiles.c.result, t.at_profiles.c.source)
            .where(t.at_profiles.c.study_id == study_id)
            .order_by(t.at_profiles.c.source)
        )
        found = self._store.read(lambda c: c.execute(query).all(), "read profiles")
        return _readable(ProfileRecord, ((row.result, f"the profile of {row.source!r}") for row in found))


def _readable(kind: type[M], rows: Iterable[tuple[str, str]]) -> tuple[list[M], list[UnreadableRow]]:
    found: list[M] = []
    odd: list[UnreadableRow] = []
    for text, what in rows:
        try:
            found.append(parsing.model(kind, text, "result"))
        except UnreadableRowError as error:
            odd.append(UnreadableRow(what=what, reason=str(error), newer=error.newer))
    return found, odd


@functools.cache
def _insert_once(dialect: str, table: sa.Table) -> sa.Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    if "created" in table.c:
        statement = statement.values(created=now())
    return statement.on_conflict_do_nothing()
