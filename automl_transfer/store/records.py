"""The trials of a study as records, read row by row: what cannot be read is named, and left out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from automl_transfer.domain.records import (
    EpochResult,
    StopReason,
    TrialOutcome,
    TrialRecord,
    TrialState,
    UnreadableRow,
)
from automl_transfer.domain.stored_strategy import read_strategy
from automl_transfer.domain.strict_json import mistakes
from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import parsing, soundness
from automl_transfer.store import tables as t


@dataclass(frozen=True)
class StudyTrials:
    """All trials of a study: those that can be read, by number, and those that cannot."""

    records: list[TrialRecord]
    unreadable: list[UnreadableRow]


def study_trials(connection: sa.Connection, study_id: int) -> StudyTrials:
    """Read a study, whoever wrote it: a few queries, however many trials."""
    main = connection.execute(
        sa.select(
            t.trials.c.trial_id,
            t.trials.c.number,
            parsing.raw(t.trials.c.state),
            parsing.raw(t.trials.c.datetime_start),
            parsing.raw(t.trials.c.datetime_complete),
            t.at_trials.c.root,
            t.at_trials.c.attempt,
            t.at_trials.c.restarts,
            t.at_trials.c.strategy,
            t.at_trials.c.stop,
            t.at_trials.c.outcome,
            t.at_trials.c.worker,
            t.at_rungs.c.value.label("paused"),
            t.at_rungs.c.changed,
        )
        .outerjoin(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .outerjoin(t.at_rungs, t.pauses())
        .where(t.trials.c.study_id == study_id)
        .order_by(t.trials.c.number, t.trials.c.trial_id)
    ).all()
    values = {
        trial_id: (value, kind)
        for trial_id, value, kind in connection.execute(
            sa.select(t.values.c.trial_id, parsing.raw(t.values.c.value), parsing.raw(t.values.c.value_type))
            .join(t.trials, t.trials.c.trial_id == t.values.c.trial_id)
            .where(t.trials.c.study_id == study_id, t.values.c.objective == 0)
        )
    }
    curves: dict[int, list[str]] = defaultdict(list)
    for trial_id, text in connection.execute(
        sa.select(t.at_epochs.c.trial_id, t.at_epochs.c.result)
        .join(t.at_trials, t.at_trials.c.trial_id == t.at_epochs.c.trial_id)
        .where(t.at_trials.c.study_id == study_id)
        .order_by(t.at_epochs.c.trial_id, t.at_epochs.c.epoch)
    ):
        curves[trial_id].append(text)
    ours = any(row.root is not None for row in main)
    unsound = soundness.unsound(connection, study_id) if ours else {}
    found = StudyTrials([], [])
    numbers: set[int] = set()
    for row in main:
        try:
            record = _record(row, values.get(row.trial_id), curves.get(row.trial_id, []), numbers)
            if row.trial_id in unsound:
                raise UnreadableRowError(unsound[row.trial_id])
        except UnreadableRowError as error:
            found.unreadable.append(_named(row, error))
        else:
            found.records.append(record)
    return found


def _record(row: Any, value: tuple[Any, Any] | None, curve: list[str], numbers: set[int]) -> TrialRecord:
    number = parsing.whole(row.number, "number")
    if number in numbers:
        raise UnreadableRowError(f"its number must be its own, got {number}, which another trial has")
    numbers.add(number)
    state, finished = TrialState(parsing.state(row.state).name), parsing.moment(row.datetime_complete)
    if row.paused is not None:
        # For whoever compares strategies it stands where it was stopped; it may still go on from there.
        value = (row.paused, "FINITE")
        state, finished = TrialState.PRUNED, parsing.since_1970(row.changed, "time of its pause")
    if state is TrialState.COMPLETE and value is None:
        raise UnreadableRowError("a complete trial must have a value, it has none")
    try:
        return TrialRecord(
            trial_id=row.trial_id,
            number=number,
            root=number if row.root is None else parsing.whole(row.root, "root"),
            attempt=parsing.whole(row.attempt or 0, "attempt"),
            restarts=parsing.whole(row.restarts or 0, "count of restarts"),
            state=state,
            value=None if value is None else parsing.number(*value, "value"),
            strategy=None if row.strategy is None else read_strategy(row.strategy),
            stop=parsing.model(StopReason, row.stop, "reason to stop") if row.stop else None,
            outcome=parsing.model(TrialOutcome, row.outcome, "outcome") if row.outcome else None,
            epochs=tuple(parsing.model(EpochResult, text, "curve") for text in curve),
            started=parsing.moment(row.datetime_start),
            finished=finished,
            worker=row.worker,
        )
    except ValidationError as error:
        raise UnreadableRowError(f"it cannot be read: {'; '.join(mistakes(error)[:3])}") from None


def _named(row: Any, error: UnreadableRowError) -> UnreadableRow:
    known = type(row.number) is int and row.number >= 0
    return UnreadableRow(
        what=f"trial {row.number}" if known else f"the trial with id {row.trial_id}",
        reason=str(error),
        root=row.root if type(row.root) is int else None,
        newer=error.newer,
    )
