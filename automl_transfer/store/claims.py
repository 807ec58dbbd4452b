"""Claims: which process does a piece of a study's work that is no trial (a profile, a confirmation run)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from automl_transfer.errors import StudyError
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle


@dataclass(frozen=True)
class Held:
    """A piece of work that some process has taken on.

    Attributes:
        age: Seconds since its last beat, on the database's clock.
        left: Seconds until its holder's search ends, negative after that; None where that is not limited.
    """

    work: str
    worker: str
    age: float
    left: float | None


def new_token() -> str:
    """By which a holder knows its own claims."""
    return uuid.uuid4().hex


def write_claim(connection: sa.Connection, study_id: int, work: str, worker: str, token: str) -> None:
    """Write that a worker does a piece of work, whoever did it before: a step of a transaction."""
    values = {"study_id": study_id, "work": work, "token": token, "worker": worker[:200], "ends": None}
    rows.upsert(connection, t.at_claims, ("study_id", "work"), values, clocks=("beat",))


class Claims:
    """Takes, keeps and gives back pieces of work of one study, for one holder.

    Each step is atomic: of any number of processes that want the same work one gets it. Safe from many
    threads.

    Args:
        worker: Who holds them, as others judge whether it still lives.
        grace: Age of a beat in seconds after which anybody may take the work over who has watched half of
            that silence: when a database or a machine comes back, the living beat again first.
        is_dead: Whether a worker is known to live no more; its work is taken over at once.
        token: Of what it holds already; None for a new one.
    """

    def __init__(
        self,
        store: Store,
        study: StudyHandle,
        worker: str,
        *,
        grace: float,
        is_dead: Callable[[str], bool],
        token: str | None = None,
    ) -> None:
        self._store = store
        self._study = study
        self._worker = worker
        self._grace = grace
        self._is_dead = is_dead
        self._token = token or new_token()
        self._silent: dict[tuple[str, float], float] = {}

    def take(self, work: str) -> bool:
        """Take a piece of work on; False while another living process has it. Repeated, it does nothing.

        Raises:
            StudyError: The study is gone.
        """
        table, study_id = t.at_claims, self._study.study_id

        def step(connection: sa.Connection) -> bool:
            if not rows.lock_study(connection, study_id):
                raise StudyError(f"study {self._study.name!r} must still be in the store, it was deleted")
            query = sa.select(table, (now() - table.c.beat).label("age"))
            query = query.where(table.c.study_id == study_id, table.c.work == work)
            row = connection.execute(query).first()
            if row is not None and row.token != self._token and not self._is_lost(row):
                return False
            write_claim(connection, study_id, work, self._worker, self._token)
            return True

        return self._store.write(step, "take work on")

    def beat(self) -> None:
        """Say that the holder lives, for all that it holds."""
        mine = sa.update(t.at_claims).where(t.at_claims.c.token == self._token).values(beat=now())
        self._store.write(lambda c: c.execute(mine) and None, "keep work")

    def ends_in(self, work: str, seconds: float) -> None:
        """Say when the holder's search ends: so many seconds from now."""
        mine = t.at_claims.c.token == self._token
        statement = (
            sa.update(t.at_claims).where(mine, t.at_claims.c.work == work).values(ends=now() + seconds)
        )
        self._store.write(lambda c: c.execute(statement) and None, "say when the search ends")

    def give_back(self, work: str | None = None, *, patience: float | None = None) -> None:
        """Let others have a piece of work, or all that is held; tried for `patience` seconds."""
        store = self._store if patience is None else self._store.with_patience(patience)
        statement = sa.delete(t.at_claims).where(t.at_claims.c.token == self._token)
        if work is not None:
            statement = statement.where(t.at_claims.c.work == work)
        store.write(lambda c: c.execute(statement) and None, "give work back")

    def held(self) -> list[Held]:
        """What living processes hold, this one included. Reads only."""
        table = t.at_claims
        age, left = (now() - table.c.beat).label("age"), (table.c.ends - now()).label("left")
        query = sa.select(table, age, left).where(table.c.study_id == self._study.study_id)
        found = self._store.read(lambda c: c.execute(query).all(), "look who works")
        return [Held(row.work, row.worker, row.age, row.left) for row in found if not self._is_lost(row)]

    def _is_lost(self, row: sa.Row[Any]) -> bool:
        if self._is_dead(row.worker):
            return True
        if row.age < self._grace / 2:
            return False
        seen = self._silent.setdefault((row.token, row.beat), time.monotonic())
        return bool(row.age >= self._grace and time.monotonic() - seen >= self._grace / 2)
