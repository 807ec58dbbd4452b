"""Everything that only reads: a few queries for a whole study, never one for each trial."""

from __future__ import annotations

from collections import defaultdict

import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState

from automl_transfer.domain.stored_strategy import read_strategy
from automl_transfer.domain.task import Task
from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import parsing
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.values import PAUSED, Counts, StudyEntry, StudyHandle, WorkerRow

_FINISHED = (OptunaState.COMPLETE, OptunaState.PRUNED)
_OPEN = (OptunaState.WAITING, OptunaState.RUNNING)


def is_there(connection: sa.Connection, study: StudyHandle) -> bool:
    """Whether a study was not deleted; a later one that got its number is another study."""
    query = sa.select(t.at_studies.c.study_id).where(t.at_studies.c.identity == study.identity)
    return connection.execute(query).first() is not None


def window(connection: sa.Connection, study_id: int, newest: int, best: int) -> list[int]:
    """Ids of a study's newest trials, its best complete ones, the open ones and those with a label."""
    mine = t.trials.c.study_id == study_id
    last = sa.select(t.trials.c.trial_id).where(mine).order_by(t.trials.c.number.desc()).limit(newest)
    v, direction = t.values, t.directions.c.direction
    sign = connection.execute(sa.select(direction).where(t.directions.c.study_id == study_id)).scalar()
    order = v.c.value.asc() if sign == StudyDirection.MINIMIZE else v.c.value.desc()
    first = (
        sa.select(t.trials.c.trial_id)
        .join(v, v.c.trial_id == t.trials.c.trial_id)
        .where(mine, t.trials.c.state == OptunaState.COMPLETE, v.c.objective == 0)
        .order_by(order, t.trials.c.number)
        .limit(best)
    )
    unfinished = sa.select(t.trials.c.trial_id).where(
        mine, t.trials.c.state.in_(_OPEN), ~t.is_paused(t.trials.c.trial_id)
    )
    told = sa.select(t.at_trials.c.trial_id).where(
        t.at_trials.c.study_id == study_id, t.at_trials.c.label != ""
    )
    return sorted(
        {i for query in (last, first, unfinished, told) for i in connection.execute(query).scalars()}
    )


def waiting(study: StudyHandle) -> sa.Select[int]:
    """Trials of ours that wait for any worker: no paused ones."""
    return (
        sa.select(t.trials.c.trial_id)
        .join(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .join(t.at_studies, t.at_studies.c.study_id == t.trials.c.study_id)
        .where(
            t.trials.c.study_id == study.study_id,
            t.at_studies.c.identity == study.identity,
            t.trials.c.state == rows.WAITING,
            ~t.is_paused(t.trials.c.trial_id),
        )
    )


def waiting_ids(connection: sa.Connection, study: StudyHandle) -> list[int] | None:
    """Ids of the trials that wait for a worker; None where the study was deleted.

    A later study that got its number is another one.
    """
    wait = waiting(study).subquery()
    query = sa.select(wait.c.trial_id).select_from(t.at_studies).outerjoin(wait, sa.true())
    found = list(connection.execute(query.where(t.at_studies.c.identity == study.identity)).scalars())
    return [trial_id for trial_id in found if trial_id is not None] if found else None


def need_newer(connection: sa.Connection, study_id: int, passed: set[int]) -> tuple[int, ...]:
    """Numbers of the open trials, where every one of them was written by a newer program; else none.

    Paused ones keep no study unfinished, so they are none of these.

    `passed` are ids of trials that are known to be.
    """
    found = []
    for trial_id, number, text in connection.execute(
        sa.select(t.trials.c.trial_id, t.trials.c.number, t.at_trials.c.strategy)
        .join(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .where(
            t.trials.c.study_id == study_id,
            t.trials.c.state.in_(_OPEN),
            sa.or_(t.trials.c.state != rows.WAITING, ~t.is_paused(t.trials.c.trial_id)),
        )
        .order_by(t.trials.c.trial_id)
    ):
        if trial_id not in passed and not _is_newer(text):
            return ()
        found.append(number)
    return tuple(found)


def _is_newer(text: str) -> bool:
    try:
        read_strategy(text)
    except UnreadableRowError as error:
        return error.newer
    return False


def best_value(connection: sa.Connection, study_id: int) -> float | None:
    """The highest value of a complete trial; None before there is one."""
    v = t.values
    query = (
        sa.select(sa.func.max(v.c.value, type_=sa.String))
        .join(t.trials, t.trials.c.trial_id == v.c.trial_id)
        .where(t.trials.c.study_id == study_id, t.trials.c.state == OptunaState.COMPLETE, v.c.objective == 0)
    )
    best = connection.execute(query).scalar()
    return float(best) if isinstance(best, int | float) else None


def counts(connection: sa.Connection, study_id: int) -> Counts:
    """Trials by state, and roots by what is left of them."""
    states = sa.select(parsing.raw(t.trials.c.state), sa.func.count()).group_by(t.trials.c.state)
    states = states.where(t.trials.c.study_id == study_id)
    by_state = {str(row[0]): int(row[1]) for row in connection.execute(states)}
    paused = t.at_rungs.c.trial_id.is_not(None)
    per_root = (
        sa.select(
            sa.func.max(sa.case((paused, 0), (t.trials.c.state.in_(_OPEN), 1), else_=0)).label("open"),
            sa.func.max(sa.case((paused, 1), else_=0)).label("paused"),
            sa.func.max(sa.case((t.trials.c.state.in_(_FINISHED), 1), else_=0)).label("finished"),
        )
        .join(t.trials, t.trials.c.trial_id == t.at_trials.c.trial_id)
        .outerjoin(t.at_rungs, t.pauses())
        .where(t.at_trials.c.study_id == study_id)
        .group_by(t.at_trials.c.root)
        .subquery()
    )
    gone = sa.and_(per_root.c.open == 0, per_root.c.paused == 0, per_root.c.finished == 0)
    roots, still_open, paused_roots, given_up = connection.execute(
        sa.select(
            sa.func.count(),
            sa.func.sum(per_root.c.open),
            sa.func.sum(per_root.c.paused),
            sa.func.sum(sa.case((gone, 1), else_=0)),
        )
    ).one()
    paused_trials = int(paused_roots or 0)
    return Counts(
        waiting=by_state.get("WAITING", 0) - paused_trials,
        paused=paused_trials,
        running=by_state.get("RUNNING", 0),
        complete=by_state.get("COMPLETE", 0),
        pruned=by_state.get("PRUNED", 0),
        failed=by_state.get("FAIL", 0),
        roots=roots,
        open_roots=int(still_open or 0),
        given_up=int(given_up or 0),
    )


def workers(connection: sa.Connection, study_id: int) -> list[WorkerRow]:
    """Who runs what, by the database's clock."""
    query = (
        sa.select(
            t.at_leases.c.worker,
            t.at_leases.c.trial_id,
            t.trials.c.number,
            t.at_trials.c.root,
            t.at_trials.c.attempt,
            t.at_leases.c.epoch,
            (now() - t.at_leases.c.beat).label("beat_age"),
            (now() - t.at_leases.c.claimed).label("held"),
        )
        .join(t.at_trials, t.at_trials.c.trial_id == t.at_leases.c.trial_id)
        .join(t.trials, t.trials.c.trial_id == t.at_leases.c.trial_id)
        .where(t.at_leases.c.study_id == study_id, t.trials.c.state == rows.RUNNING)
        .order_by(t.at_leases.c.worker, t.trials.c.number)
    )
    return [WorkerRow(*row) for row in connection.execute(query)]


def study_entries(connection: sa.Connection) -> list[StudyEntry]:
    """All studies, with their trials by state and their best value so far."""
    states: dict[int, dict[str, int]] = defaultdict(dict)
    for study_id, state, number in connection.execute(
        sa.select(t.trials.c.study_id, parsing.raw(t.trials.c.state), sa.func.count()).group_by(
            t.trials.c.study_id, t.trials.c.state
        )
    ):
        states[study_id][str(state)] = number
    waits = (t.trials.c.state == rows.WAITING, t.is_paused(t.trials.c.trial_id))
    paused = sa.select(t.trials.c.study_id, sa.func.count()).where(*waits).group_by(t.trials.c.study_id)
    for study_id, number in connection.execute(paused):
        states[study_id][rows.WAITING.name] -= number
        states[study_id][PAUSED] = number
    extremes = {
        study_id: (low, high)
        for study_id, low, high in connection.execute(
            sa.select(t.trials.c.study_id, sa.func.min(t.values.c.value), sa.func.max(t.values.c.value))
            .join(t.values, t.values.c.trial_id == t.trials.c.trial_id)
            .where(t.trials.c.state == OptunaState.COMPLETE, t.values.c.objective == 0)
            .group_by(t.trials.c.study_id)
        )
    }
    query = (
        sa.select(
            t.studies.c.study_id,
            t.studies.c.study_name,
            t.directions.c.direction,
            t.at_studies.c.task,
            t.at_studies.c.created,
            t.at_studies.c.identity,
        )
        .join(t.directions, t.directions.c.study_id == t.studies.c.study_id)
        .outerjoin(t.at_studies, t.at_studies.c.study_id == t.studies.c.study_id)
        .where(t.directions.c.objective == 0)
        .order_by(t.studies.c.study_id)
    )
    d = t.directions.c
    several = set(
        connection.execute(sa.select(d.study_id).group_by(d.study_id).having(sa.func.count() > 1)).scalars()
    )
    summaries = []
    for row in connection.execute(query):
        low, high = extremes.get(row.study_id, (None, None))
        summaries.append(
            StudyEntry(
                study_id=row.study_id,
                name=row.study_name,
                ours=row.task is not None,
                trials=dict(states.get(row.study_id, {})),
                best_value=high if row.direction == StudyDirection.MAXIMIZE else low,
                task=_task_name(row.task),
                created=row.created,
                identity=row.identity,
                maximised=None if row.study_id in several else row.direction == StudyDirection.MAXIMIZE,
            )
        )
    return summaries


def _task_name(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return parsing.model(Task, text, "task").name
    except UnreadableRowError as error:
        return f"({error})"
