"""Rungs: where trials pause with a checkpoint, and from which each goes on at most once.

A paused trial is WAITING for Optuna, so that every tool sees one trial a strategy, and one that is not
finished. What tells it from a trial that waits for any worker is its row here, which nobody has taken yet.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from automl_transfer.domain.records import StopKind, StopReason, TrialOutcome, TrialState
from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import continuing, leases, parsing
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.claiming import begin, give_up, held, read_claim
from automl_transfer.store.engine import now
from automl_transfer.store.store import Store
from automl_transfer.store.values import Claim, Mark, StudyHandle

log = logging.getLogger(__name__)

ENDED = "ended"
OVERLAP, SHORT_OVERLAP = 120.0, 5.0
"""Seconds before the newest row seen in which others may have been written that were not committed then.

Hardly any takes longer than the shorter one; those are found by a look of the longer one, every so often:
where many workers write, that is thousands of rows."""
THOROUGH = 50.0
"""Seconds between looks of the longer one."""


class Changes:
    """Rows of a study's rungs that are new, or were taken, since the last look."""

    def __init__(self, study_id: int) -> None:
        self._study_id = study_id
        self._since = -math.inf
        self._thorough = -math.inf
        self._taken: dict[tuple[int, int], str | None] = {}

    def skip(self, connection: sa.Connection) -> None:
        """Look at nothing that is there by now, but for the latest."""
        r = t.at_rungs
        newest = connection.execute(sa.select(sa.func.max(r.c.changed)).where(r.c.study_id == self._study_id))
        found = newest.scalar()
        self._since = found if isinstance(found, int | float) else -math.inf

    def look(self, connection: sa.Connection) -> list[sa.Row[Any]]:
        """Those rows; all at the first look. The same ones again until they are `seen`."""
        r = t.at_rungs
        query = sa.select(r).where(r.c.study_id == self._study_id)
        if math.isfinite(self._since):
            thorough = time.monotonic() >= self._thorough + THOROUGH
            query = query.where(r.c.changed >= self._since - (OVERLAP if thorough else SHORT_OVERLAP))
            if thorough:
                self._thorough = time.monotonic()
        return [row for row in connection.execute(query) if self._is_news(row)]

    def seen(self, rows: Sequence[sa.Row[Any]]) -> None:
        """They are no news any more: whoever looked is done with them, and will not try again."""
        for row in rows:
            self._taken[row.root, row.rung] = row.taken
            self._since = max(self._since, row.changed)

    def _is_news(self, row: sa.Row[Any]) -> bool:
        if not isinstance(row.changed, int | float):  # somebody else wrote it: SQLite keeps what it is given
            return False
        key = row.root, row.rung
        return key not in self._taken or self._taken[key] != row.taken


class Rungs:
    """The rungs of one study, each step one transaction as those of `Trials` are.

    Not safe from several threads.
    """

    def __init__(self, store: Store, study: StudyHandle) -> None:
        self._store = store
        self._study = study
        self._changes = Changes(study.study_id)
        self._known: set[tuple[int, int]] = set()
        self._newer: set[int] = set()

    def news(self) -> list[Mark]:
        """What came to rungs, or went on from them, since the last call; all of it at the first one."""
        rows = self._store.read(self._changes.look, "read rungs")
        self._changes.seen(rows)
        found = []
        for row in rows:
            try:
                mark = _mark(row)
            except UnreadableRowError as error:
                log.debug("a rung is left out: %s", error)
                continue
            if mark.root not in self._newer:
                self._known.add((mark.root, mark.rung))
                found.append(mark)
        return found

    def knows(self, root: int, rung: int) -> bool:
        """Whether a strategy has been at a rung, as of the last look."""
        return (root, rung) in self._known

    def go_on(self, claim: Claim, mark: Mark) -> None:
        """Note that a trial came to a rung and trains on at once; counts as a beat. A repeat overwrites.

        Raises:
            TrialLostError: The claim is lost.
        """

        def step(connection: sa.Connection, _repeat: bool) -> None:
            leases.fence(connection, claim)
            _note(connection, claim, mark, claim.token)

        self._store.write_once(step, "note a rung")

    def pause(self, claim: Claim, mark: Mark, stop: StopReason, outcome: TrialOutcome) -> None:
        """Give a trial back at a rung, where it stays until it is among the best. Repeated, it does nothing.

        Its checkpoint must be noted already.

        Raises:
            TrialLostError: The claim is lost.
        """

        def step(connection: sa.Connection, _repeat: bool) -> None:
            if not leases.close(connection, claim, stop, outcome):
                return
            leases.must(rows.set_state(connection, claim.trial_id, rows.WAITING), claim)
            continuing.trim_to_checkpoint(connection, claim.trial_id)
            _note(connection, claim, mark, None)

        self._store.write_once(step, "pause a trial")

    def promote(self, mark: Mark, worker: str) -> Claim | None:
        """Go on with a paused trial; exactly one worker gets it.

        One of a newer program that this one cannot read stays paused, and is not seen here any more; one that
        no program can read fails.

        Returns:
            The claim with its curve and checkpoint; None where somebody else was quicker, or it cannot run.
        """
        token, study, r = uuid.uuid4().hex, self._study, t.at_rungs
        mine = sa.select(t.at_studies.c.study_id).where(
            t.at_studies.c.study_id == r.c.study_id, t.at_studies.c.identity == study.identity
        )
        here = sa.and_(
            r.c.study_id == study.study_id,
            r.c.root == mark.root,
            r.c.rung == mark.rung,
            r.c.taken.is_(None),
            mine.exists(),
        )

        def take(connection: sa.Connection, by: str) -> int | None:
            statement = sa.update(r).where(here).values(taken=by, changed=now()).returning(r.c.trial_id)
            return connection.execute(statement).scalar()

        def step(connection: sa.Connection, repeat: bool) -> Claim | None:
            if repeat and (known := held(connection, token)) is not None:
                return known
            trial_id = take(connection, token)
            if trial_id is None:
                return None
            claim = read_claim(connection, trial_id, token)
            return claim if begin(connection, claim, worker) else None

        try:
            return self._store.write_once(step, "go on with a paused trial")
        except UnreadableRowError as error:
            unreadable = error
        self._known.discard((mark.root, mark.rung))
        self._newer.add(mark.root)
        if not unreadable.newer:

            def fail(connection: sa.Connection) -> None:
                if (trial_id := take(connection, ENDED)) is not None:
                    give_up(connection, trial_id, unreadable)

            self._store.write(fail, "fail a paused trial")
        return None

    def end(self, reason: str, *, keep_bytes: int = 0) -> list[int]:
        """End paused trials as PRUNED, the least promising first, until their checkpoints take no more.

        Args:
            reason: Why, for people; where they paused is said as well.
            keep_bytes: What checkpoints of paused trials may take; with 0 all of them end, but for those
                that were to go on and need a newer program.

        Returns:
            Their roots, whose checkpoints nothing needs any more.
        """
        r = t.at_rungs
        query = sa.select(r, _size().label("bytes"))
        query = query.where(r.c.study_id == self._study.study_id, r.c.taken.is_(None))

        def step(connection: sa.Connection) -> list[int]:
            found = connection.execute(query).all()
            kept = sum(row.bytes or 0 for row in found)
            ended: list[int] = []
            for row in sorted(found, key=lambda row: (row.rung, row.value, -row.root)):
                if keep_bytes and kept <= keep_bytes:
                    break
                if not keep_bytes and row.root in self._newer:
                    continue
                kept -= row.bytes or 0
                if _end(connection, row, reason):
                    ended.append(row.root)
            return ended

        if keep_bytes and self._store.read(lambda c: _bytes(c, self._study), "look at rungs") <= keep_bytes:
            return []
        return self._store.write(step, "end paused trials")


def _size() -> sa.ScalarSelect[int]:
    """Bytes of a trial's newest checkpoint. Older programs left rows of those before, without their files."""
    r, c = t.at_rungs, t.at_checkpoints
    query = sa.select(c.c.bytes).where(c.c.trial_id == r.c.trial_id).order_by(c.c.epoch.desc()).limit(1)
    return query.correlate(r).scalar_subquery()


def _bytes(connection: sa.Connection, study: StudyHandle) -> int:
    r = t.at_rungs
    query = sa.select(sa.func.sum(_size())).select_from(r)
    query = query.where(r.c.study_id == study.study_id, r.c.taken.is_(None))
    return int(connection.execute(query).scalar() or 0)


def _note(connection: sa.Connection, claim: Claim, mark: Mark, taken: str | None) -> None:
    row = {
        "study_id": claim.study_id,
        "root": mark.root,
        "rung": mark.rung,
        "trial_id": claim.trial_id,
        "bracket": mark.bracket,
        "value": mark.value,
        "loss": mark.loss,
        "seconds": mark.seconds,
        "taken": taken,
    }
    rows.upsert(connection, t.at_rungs, ("study_id", "root", "rung"), row, clocks=("changed",))


def _end(connection: sa.Connection, row: Any, reason: str) -> bool:
    """End one paused trial; False where it went on, or something else ended it, before."""
    r = t.at_rungs
    mine = (r.c.study_id == row.study_id, r.c.root == row.root, r.c.rung == row.rung, r.c.taken.is_(None))
    ended = connection.execute(sa.update(r).where(*mine).values(taken=ENDED, changed=now()))
    if ended.rowcount == 0:
        return False  # somebody went on with it since the row was read
    if not rows.set_state(connection, row.trial_id, rows.to_optuna(TrialState.PRUNED), expected=rows.WAITING):
        return False
    stop = StopReason(kind=StopKind.PRUNED, detail=f"paused after epoch {row.rung}; {reason}")
    trial = t.at_trials.c.trial_id == row.trial_id
    connection.execute(sa.update(t.at_trials).where(trial).values(stop=stop.model_dump_json()))
    rows.set_value(connection, row.trial_id, float(row.value))
    rows.describe_end(connection, row.trial_id, stop, None)
    connection.execute(sa.delete(t.at_checkpoints).where(t.at_checkpoints.c.trial_id == row.trial_id))
    return True


def _mark(row: Any) -> Mark:
    """A row as it is."""
    for name in ("value", "loss", "seconds"):
        number = getattr(row, name)
        if isinstance(number, bool) or not isinstance(number, int | float) or math.isnan(number):
            raise UnreadableRowError(f"{name} of a rung must be a number, got {number!r}")
    return Mark(
        root=parsing.whole(row.root, "root"),
        rung=parsing.whole(row.rung, "rung"),
        bracket=str(row.bracket),
        value=float(row.value),
        loss=float(row.loss),
        seconds=float(row.seconds),
        paused=row.taken is None,
    )
