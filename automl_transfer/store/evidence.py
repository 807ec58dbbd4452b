"""Confirmations, audits, profiles and test looks of a study: rows that are written whole, each once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel

from automl_transfer.domain.evidence import ExtraRun, FailedRun, ProfileRecord, RunKind, TestLook
from automl_transfer.domain.records import UnreadableRow
from automl_transfer.errors import StudyError, UnreadableRowError
from automl_transfer.store import parsing
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.optuna_rows import insert_once, lock_study, upsert
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

        def step(connection: sa.Connection) -> None:
            row = _row(connection, study, run)
            connection.execute(insert_once(connection.dialect.name, t.at_confirmations), row)
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
        """All failed runs of a study that can be read, by strategy and number."""
        return self._failures(study, kind)[0]

    def _failures(
        self, study: StudyHandle | int, kind: RunKind | None
    ) -> tuple[list[FailedRun], list[UnreadableRow]]:
        table, study_id = t.at_failed_runs, study if isinstance(study, int) else study.study_id
        query = (
            sa.select(table.c.result, table.c.run)
            .where(table.c.study_id == study_id)
            .order_by(table.c.kind, table.c.trial_id, table.c.run)
        )
        if kind is not None:
            query = query.where(table.c.kind == kind)
        found = self._store.read(lambda c: c.execute(query).all(), "read failed runs")
        return _readable(FailedRun, ((row.result, f"failed run {row.run}") for row in found))

    def add_look(self, study: StudyHandle, look: TestLook) -> None:
        """Keep that a winner was judged on the test split; the same look twice is one."""
        table = t.at_test_looks

        def step(connection: sa.Connection) -> None:
            lock_study(connection, study.study_id)
            if not is_there(connection, study):
                raise deleted(study)
            query = sa.select(table.c.result).where(table.c.study_id == study.study_id)
            known = connection.execute(query).scalars().all()
            text = look.model_dump_json()
            if text not in known:
                row = {"study_id": study.study_id, "look": len(known), "result": text}
                connection.execute(sa.insert(table).values(created=now()), row)

        self._store.write(step, "keep a look at the test split")

    def looks(self, study: StudyHandle | int) -> list[TestLook]:
        """All looks at the test split that can be read, in order."""
        return self._looks(study)[0]

    def _looks(self, study: StudyHandle | int) -> tuple[list[TestLook], list[UnreadableRow]]:
        study_id = study if isinstance(study, int) else study.study_id
        table = t.at_test_looks
        query = (
            sa.select(table.c.result, table.c.look).where(table.c.study_id == study_id).order_by(table.c.look)
        )
        found = self._store.read(lambda c: c.execute(query).all(), "read looks at the test split")
        return _readable(TestLook, ((row.result, f"look {row.look} at the test split") for row in found))

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
            connection.execute(insert_once(connection.dialect.name, t.at_profiles), row)

        self._store.write(step, "keep a profile")

    def profiles(self, study: StudyHandle | int) -> list[ProfileRecord]:
        """The profiles of a study's sources that can be read, by name."""
        return self._profiles(study)[0]

    def unreadable(self, study: StudyHandle | int) -> list[UnreadableRow]:
        """What this program cannot read of all this: it is left out elsewhere."""
        odd = self._runs(study, None)[1], self._failures(study, None)[1], self._looks(study)[1]
        return [*(row for rows in odd for row in rows), *self._profiles(study)[1]]

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


def _row(connection: sa.Connection, study: StudyHandle, run: ExtraRun | FailedRun) -> dict[str, Any]:
    """A run as a row. Raises StudyError where its trial is gone."""
    number = (
        sa.select(t.trials.c.trial_id)
        .join(t.at_studies, t.at_studies.c.study_id == t.trials.c.study_id)
        .where(t.at_studies.c.identity == study.identity, t.trials.c.number == run.root)
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
