"""Signatures of the tasks of a store: one a task, whatever number of studies has it."""

from __future__ import annotations

import sqlalchemy as sa

from automl_transfer.domain.signature import TaskSignature
from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import parsing
from automl_transfer.store import tables as t
from automl_transfer.store.optuna_rows import insert_once
from automl_transfer.store.store import Store


class Signatures:
    """Reads and keeps signatures. Safe from any number of processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, signature: TaskSignature) -> None:
        """Keep a signature; where its task has one already, that learns of further sources, and stays else.

        One that this program cannot read is left as it is.
        """
        table, mine = t.at_signatures, t.at_signatures.c.task == signature.task

        def step(connection: sa.Connection) -> None:
            query = sa.select(table.c.result).where(mine).with_for_update()
            known = connection.execute(query).scalar()
            if known is None:
                row = {"task": signature.task, "result": signature.to_json()}
                connection.execute(insert_once(connection.dialect.name, table), row)
                return
            try:
                whole = _parsed(known).with_sources_of(signature)
            except UnreadableRowError:
                return
            connection.execute(sa.update(table).where(mine).values(result=whole.to_json()))

        self._store.write(step, "keep a signature")

    def of(self, task: str) -> TaskSignature | None:
        """That of the task with this fingerprint; None where there is none that can be read."""
        return next(iter(self._read(t.at_signatures.c.task == task)), None)

    def all(self) -> list[TaskSignature]:
        """Those of all tasks that can be read, the first task first."""
        return self._read(sa.true())

    def _read(self, which: sa.ColumnElement[bool]) -> list[TaskSignature]:
        table = t.at_signatures.c
        query = sa.select(table.result).where(which).order_by(table.created, table.task)
        found = []
        for text in self._store.read(lambda c: c.execute(query).scalars().all(), "read signatures"):
            try:
                found.append(_parsed(text))
            except UnreadableRowError:  # of a newer program, or changed by hand: others are as good without
                continue
        return found


def _parsed(text: str) -> TaskSignature:
    return parsing.model(TaskSignature, text, "signature")
