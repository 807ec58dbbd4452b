"""Everything that only reads: a few queries for a whole study, never one for each trial."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from pydantic import ValidationError

from automl_transfer.domain.records import EpochResult, StopReason, TrialOutcome, TrialRecord, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import Task
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.values import (
    CheckpointRef,
    Claim,
    Counts,
    StudyHandle,
    StudySummary,
    WorkerRow,
)

_FINISHED = (OptunaState.COMPLETE, OptunaState.PRUNED)
_OPEN = (OptunaState.WAITING, OptunaState.RUNNING)
_distributions: dict[str, BaseDistribution] = {}


def distribution(text: str) -> BaseDistribution:
    """A distribution from its JSON; parsed once for each text."""
    known = _distributions.get(text)
    if known is None:
        if len(_distributions) > 10_000:
            _distributions.clear()
        known = _distributions[text] = json_to_distribution(text)
    return known


def stored_value(value: float | None, kind: Any) -> float:
    """A value as it was given, infinities included."""
    return float(models.TrialValueModel.stored_repr_to_value(value, kind))


def is_there(connection: sa.Connection, study: StudyHandle) -> bool:
    """Whether a study was not deleted; a later one that got its number is another study."""
    query = sa.select(t.at_studies.c.study_id).where(t.at_studies.c.identity == study.identity)
    return connection.execute(query).first() is not None


def waiting(study: StudyHandle) -> sa.Select[int]:
    """Trials of ours that wait for a worker."""
    return (
        sa.select(t.trials.c.trial_id)
        .join(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .join(t.at_studies, t.at_studies.c.study_id == t.trials.c.study_id)
        .where(
            t.trials.c.study_id == study.study_id,
            t.at_studies.c.identity == study.identity,
            t.trials.c.state == rows.WAITING,
        )
    )


def anything_waits(connection: sa.Connection, study: StudyHandle) -> bool:
    """Whether a claim could succeed now."""
    return connection.execute(waiting(study).limit(1)).first() is not None


def read_claim(connection: sa.Connection, trial_id: int, token: str) -> Claim:
    """Everything a worker needs to run a trial."""
    row = connection.execute(
        sa.select(t.at_trials, t.trials.c.number)
        .join(t.trials, t.trials.c.trial_id == t.at_trials.c.trial_id)
        .where(t.at_trials.c.trial_id == trial_id)
    ).one()
    params = connection.execute(
        sa.select(t.params.c.param_name, t.params.c.param_value, t.params.c.distribution_json)
        .where(t.params.c.trial_id == trial_id)
        .order_by(t.params.c.param_id)
    )
    epochs = connection.execute(
        sa.select(t.at_epochs.c.result)
        .where(t.at_epochs.c.trial_id == trial_id)
        .order_by(t.at_epochs.c.epoch)
    ).scalars()
    saved = connection.execute(
        sa.select(t.at_checkpoints)
        .where(t.at_checkpoints.c.trial_id == trial_id)
        .order_by(t.at_checkpoints.c.epoch.desc())
        .limit(1)
    ).first()
    return Claim(
        study_id=row.study_id,
        trial_id=trial_id,
        number=row.number,
        root=row.root,
        attempt=row.attempt,
        token=token,
        strategy=Strategy.model_validate_json(row.strategy),
        params={name: distribution(text).to_external_repr(value) for name, value, text in params},
        epochs=tuple(EpochResult.model_validate_json(text) for text in epochs),
        checkpoint=None if saved is None else _checkpoint(saved),
        label=row.label,
    )


def _checkpoint(row: Any) -> CheckpointRef:
    return CheckpointRef(row.epoch, row.uri, row.sha256, row.bytes, json.loads(row.conditions))


def checkpoints(connection: sa.Connection, study_id: int) -> list[tuple[int, CheckpointRef]]:
    """Every checkpoint that is named, with its root."""
    query = (
        sa.select(t.at_trials.c.root, t.at_checkpoints)
        .join(t.at_trials, t.at_trials.c.trial_id == t.at_checkpoints.c.trial_id)
        .where(t.at_trials.c.study_id == study_id)
    )
    return [(row.root, _checkpoint(row)) for row in connection.execute(query)]


def counts(connection: sa.Connection, study_id: int) -> Counts:
    """Trials by state, and roots by what is left of them."""
    by_state = {
        state.name: number
        for state, number in connection.execute(
            sa.select(t.trials.c.state, sa.func.count())
            .where(t.trials.c.study_id == study_id)
            .group_by(t.trials.c.state)
        )
    }
    per_root = (
        sa.select(
            sa.func.max(sa.case((t.trials.c.state.in_(_OPEN), 1), else_=0)).label("open"),
            sa.func.max(sa.case((t.trials.c.state.in_(_FINISHED), 1), else_=0)).label("finished"),
        )
        .join(t.trials, t.trials.c.trial_id == t.at_trials.c.trial_id)
        .where(t.at_trials.c.study_id == study_id)
        .group_by(t.at_trials.c.root)
        .subquery()
    )
    lost = sa.case((sa.and_(per_root.c.open == 0, per_root.c.finished == 0), 1), else_=0)
    roots, still_open, given_up = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(per_root.c.open), sa.func.sum(lost))
    ).one()
    return Counts(
        waiting=by_state.get("WAITING", 0),
        running=by_state.get("RUNNING", 0),
        complete=by_state.get("COMPLETE", 0),
        pruned=by_state.get("PRUNED", 0),
        failed=by_state.get("FAIL", 0),
        roots=roots,
        open_roots=int(still_open or 0),
        given_up=int(given_up or 0),
    )


def records(connection: sa.Connection, study_id: int) -> list[TrialRecord]:
    """All trials of a study by number, in three queries, whoever wrote them."""
    main = connection.execute(
        sa.select(
            t.trials.c.trial_id,
            t.trials.c.number,
            t.trials.c.state,
            t.trials.c.datetime_start,
            t.trials.c.datetime_complete,
            t.at_trials.c.root,
            t.at_trials.c.attempt,
            t.at_trials.c.restarts,
            t.at_trials.c.strategy,
            t.at_trials.c.stop,
            t.at_trials.c.outcome,
            t.at_trials.c.worker,
        )
        .outerjoin(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .where(t.trials.c.study_id == study_id)
        .order_by(t.trials.c.number)
    ).all()
    values = {
        trial_id: stored_value(value, kind)
        for trial_id, value, kind in connection.execute(
            sa.select(t.values.c.trial_id, t.values.c.value, t.values.c.value_type)
            .join(t.trials, t.trials.c.trial_id == t.values.c.trial_id)
            .where(t.trials.c.study_id == study_id, t.values.c.objective == 0)
        )
    }
    curves: dict[int, list[EpochResult]] = defaultdict(list)
    for trial_id, text in connection.execute(
        sa.select(t.at_epochs.c.trial_id, t.at_epochs.c.result)
        .join(t.at_trials, t.at_trials.c.trial_id == t.at_epochs.c.trial_id)
        .where(t.at_trials.c.study_id == study_id)
        .order_by(t.at_epochs.c.trial_id, t.at_epochs.c.epoch)
    ):
        curves[trial_id].append(EpochResult.model_validate_json(text))
    return [
        TrialRecord(
            trial_id=row.trial_id,
            number=row.number,
            root=row.number if row.root is None else row.root,
            attempt=row.attempt or 0,
            restarts=row.restarts or 0,
            state=TrialState(row.state.name),
            value=values.get(row.trial_id),
            strategy=_strategy(row.strategy),
            stop=StopReason.model_validate_json(row.stop) if row.stop else None,
            outcome=TrialOutcome.model_validate_json(row.outcome) if row.outcome else None,
            epochs=tuple(curves.get(row.trial_id, ())),
            started=_utc(row.datetime_start),
            finished=_utc(row.datetime_complete),
            worker=row.worker,
        )
        for row in main
    ]


def _strategy(text: str | None) -> Strategy | None:
    """A trial's strategy; None where another version of the space wrote one that this one cannot read."""
    try:
        return Strategy.model_validate_json(text) if text else None
    except ValidationError:
        return None


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)


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


def study_summaries(connection: sa.Connection) -> list[StudySummary]:
    """All studies, with their trials by state and their best value so far."""
    states: dict[int, dict[str, int]] = defaultdict(dict)
    for study_id, state, number in connection.execute(
        sa.select(t.trials.c.study_id, t.trials.c.state, sa.func.count()).group_by(
            t.trials.c.study_id, t.trials.c.state
        )
    ):
        states[study_id][state.name] = number
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
    summaries = []
    for row in connection.execute(query):
        low, high = extremes.get(row.study_id, (None, None))
        summaries.append(
            StudySummary(
                study_id=row.study_id,
                name=row.study_name,
                ours=row.task is not None,
                trials=dict(states.get(row.study_id, {})),
                best_value=high if row.direction == StudyDirection.MAXIMIZE else low,
                task=Task.model_validate_json(row.task).name if row.task else None,
                created=row.created,
                identity=row.identity,
            )
        )
    return summaries
