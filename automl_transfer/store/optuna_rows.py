"""Reads and writes rows of Optuna's tables exactly as Optuna does, on an open connection.

Written against schema v3.2.0.a (`schema.OPTUNA_HEAD`), which is checked when a store is opened.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from optuna.artifacts import ArtifactMeta
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import TrialState as OptunaState
from sqlalchemy.dialects import postgresql, sqlite

from automl_transfer.domain.records import StopReason, TrialOutcome, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now, utc
from automl_transfer.store.optuna_names import ARTIFACT_PREFIX, CURVE_VALUE, VALUE

STRATEGY, STOP, SECONDS, CONTINUES = "strategy", "stop", "seconds", "continues"
"""The user attributes of a trial: what it is, why it stopped, how long it took, and which trial it goes
on from. They are for people who look at a study with Optuna's tools: nothing here reads them."""

ATTRIBUTE_LIMIT = 1024  # characters that the dashboard shows

WAITING = OptunaState.WAITING
RUNNING = OptunaState.RUNNING


def to_optuna(state: TrialState) -> OptunaState:
    """The same state in Optuna's vocabulary."""
    return OptunaState[state.value]


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    keys: tuple[str, ...],
    row: dict[str, Any] | list[dict[str, Any]],
    *,
    clocks: tuple[str, ...] = (),
) -> None:
    """Insert a row, or several of the same columns, or overwrite those with the same keys.

    `clocks` are columns set to now.
    """
    columns = tuple(row[0] if isinstance(row, list) else row)
    connection.execute(_upsert(connection.dialect.name, table, keys, columns, clocks), row)


@functools.cache
def _upsert(
    dialect: str, table: sa.Table, keys: tuple[str, ...], columns: tuple[str, ...], clocks: tuple[str, ...]
) -> sa.Executable:
    """The statement; building it takes longer than running it, so it is built once."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table).values({name: now() for name in clocks}) if clocks else insert(table)
    changed = {name: statement.excluded[name] for name in (*columns, *clocks) if name not in keys}
    return statement.on_conflict_do_update(index_elements=list(keys), set_=changed)


@functools.cache
def insert_once(dialect: str, table: sa.Table) -> sa.Executable:
    """Inserts a row, and changes nothing where its key is there already; `created` is now."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    if "created" in table.c:
        statement = statement.values(created=now())
    return statement.on_conflict_do_nothing()


def lock_study(connection: sa.Connection, study_id: int, identity: str | None = None) -> bool:
    """Make this transaction the only one that numbers trials of a study; False when it is gone.

    Excludes Optuna's own FOR UPDATE. On SQLite the transaction is exclusive already, and numbers of
    studies are given again: with `identity`, a later study of the same number is not taken for it.
    """
    query = sa.select(t.studies.c.study_id).where(t.studies.c.study_id == study_id)
    if identity is not None:
        mine = sa.select(t.at_studies.c.study_id).where(
            t.at_studies.c.study_id == t.studies.c.study_id, t.at_studies.c.identity == identity
        )
        query = query.where(mine.exists())
    return connection.execute(query.with_for_update(key_share=True)).first() is not None


def insert_trial(connection: sa.Connection, study_id: int, state: OptunaState) -> tuple[int, int]:
    """A new trial: its id and its number. The study must be locked.

    The number is the count of the study's earlier trials, as Optuna computes it. On PostgreSQL it follows the
    last one, which is the same, and an index finds it; SQLite's last one may be anything that somebody wrote.
    """
    follows = connection.dialect.name == "postgresql"
    number = sa.func.coalesce(sa.func.max(t.trials.c.number) + 1, 0) if follows else sa.func.count()
    earlier = sa.select(number).select_from(t.trials).where(t.trials.c.study_id == study_id).scalar_subquery()
    statement = (
        sa.insert(t.trials)
        .values(
            study_id=study_id,
            number=earlier,
            state=state,
            datetime_start=utc() if state == RUNNING else sa.null(),
        )
        .returning(t.trials.c.trial_id, t.trials.c.number)
    )
    row = connection.execute(statement).one()
    return int(row[0]), int(row[1])


def insert_params(
    connection: sa.Connection,
    trial_id: int,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
) -> None:
    """All params of a new trial at once, in Optuna's internal representation."""
    if rows := [{"trial_id": trial_id, **row} for row in param_rows(params, distributions)]:
        connection.execute(sa.insert(t.params), rows)


def param_rows(
    params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> list[dict[str, Any]]:
    """Each parameter's name, value and distribution, in Optuna's internal representation."""
    return [
        {
            "param_name": name,
            "param_value": float(distributions[name].to_internal_repr(value)),
            "distribution_json": _distribution_json(distributions[name]),
        }
        for name, value in params.items()
    ]


_json_of: dict[int, tuple[BaseDistribution, str]] = {}


def _distribution_json(distribution: BaseDistribution) -> str:
    """Memoised by object: a space hands out the same distributions for every trial."""
    known = _json_of.get(id(distribution))
    if known is not None and known[0] is distribution:
        return known[1]
    if len(_json_of) > 1000:
        _json_of.clear()
    text = distribution_to_json(distribution)
    _json_of[id(distribution)] = (distribution, text)
    return text


def copy_trial_rows(connection: sa.Connection, parent: int, child: int, keep_epoch: int) -> None:
    """Params, curve up to an epoch, and system attributes (a pruner's rungs) of a parent for its child.

    Not copied: what TPE notes about a sample in progress (the child's params say the same), and artifacts.
    """
    for table, condition in (
        (t.params, sa.true()),
        (t.intermediate, t.intermediate.c.step <= keep_epoch),
        (
            t.system_attributes,
            ~t.system_attributes.c.key.startswith("tpe:")
            & ~t.system_attributes.c.key.startswith(ARTIFACT_PREFIX),
        ),
    ):
        names = [c.name for c in table.columns if not c.primary_key and c.name != "trial_id"]
        rows = sa.select(sa.literal(child), *(table.c[n] for n in names)).where(
            table.c.trial_id == parent, condition
        )
        connection.execute(
            sa.insert(table).from_select(["trial_id", *names], rows.order_by(*table.primary_key))
        )


def set_state(
    connection: sa.Connection, trial_id: int, state: OptunaState, *, expected: OptunaState = RUNNING
) -> bool:
    """Change a trial's state from an expected one; False when something else changed it first."""
    changes: dict[str, Any] = {"state": state}
    if state == RUNNING:
        changes["datetime_start"] = utc()
    elif state.is_finished():
        changes["datetime_complete"] = utc()
    statement = (
        sa.update(t.trials)
        .where(t.trials.c.trial_id == trial_id, t.trials.c.state == expected)
        .values(changes)
    )
    return connection.execute(statement).rowcount == 1


def set_value(connection: sa.Connection, trial_id: int, value: float) -> None:
    """The objective's value."""
    if math.isnan(value):
        raise ValueError("a trial's value must be a number, got nan: fail the trial instead")
    stored, kind = VALUE.value_to_stored_repr(value)
    row = {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind}
    upsert(connection, t.values, ("trial_id", "objective"), row)


def set_intermediate(connection: sa.Connection, trial_id: int, step: int, value: float) -> None:
    """The value after an epoch, as a pruner and the dashboard see it."""
    stored, kind = CURVE_VALUE.intermediate_value_to_stored_repr(value)
    row = {
        "trial_id": trial_id,
        "step": step,
        "intermediate_value": stored,
        "intermediate_value_type": kind,
    }
    upsert(connection, t.intermediate, ("trial_id", "step"), row)


def describe_trial(connection: sa.Connection, trial_id: int, strategy: Strategy) -> None:
    """Say on a new trial, for people, what it is."""
    _set_attributes(connection, trial_id, {STRATEGY: strategy.describe()})


def words_of(strategy: Strategy) -> str:
    """The same, as the attribute's JSON."""
    return json.dumps(_clip(strategy.describe()))


def describe_child(connection: sa.Connection, parent: int, child: int, root: int, attempt: int) -> None:
    """Say on a trial that continues another what it is: in its parent's words, whoever found them."""
    u = t.user_attributes
    words = sa.select(sa.literal(child), u.c.key, u.c.value_json).where(
        u.c.trial_id == parent, u.c.key == STRATEGY
    )
    connection.execute(sa.insert(u).from_select(["trial_id", "key", "value_json"], words))
    _set_attributes(connection, child, {CONTINUES: f"trial {root}, attempt {attempt + 1}"})


def describe_end(
    connection: sa.Connection, trial_id: int, stop: StopReason, outcome: TrialOutcome | None
) -> None:
    """Say on a trial, for people, why it stopped and how many seconds it took."""
    content: dict[str, Any] = {STOP: str(stop)}
    if outcome is not None:
        content[SECONDS] = round(outcome.train_seconds, 2)
    _set_attributes(connection, trial_id, content)


def _set_attributes(connection: sa.Connection, trial_id: int, content: Mapping[str, Any]) -> None:
    attributes = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(_clip(value))}
        for key, value in content.items()
    ]
    upsert(connection, t.user_attributes, ("trial_id", "key"), attributes)


def _clip(value: Any) -> Any:
    if isinstance(value, str) and len(value) > ATTRIBUTE_LIMIT:
        return value[: ATTRIBUTE_LIMIT - 1] + "…"
    return value


def attach(connection: sa.Connection, trial_id: int, artifacts: Sequence[ArtifactMeta]) -> None:
    """Name a trial's artifacts as `optuna.artifacts.upload_artifact` does; their files are stored already."""
    attributes = [
        {
            "trial_id": trial_id,
            "key": f"{ARTIFACT_PREFIX}{artifact.artifact_id}",
            "value_json": json.dumps(json.dumps(asdict(artifact))),
        }
        for artifact in artifacts
    ]
    if attributes:
        upsert(connection, t.system_attributes, ("trial_id", "key"), attributes)


def delete_study(connection: sa.Connection, study_id: int) -> None:
    """Every row of a study, children first, and signatures of tasks that no study has any more."""
    lock_study(connection, study_id)
    ids = sa.select(t.trials.c.trial_id).where(t.trials.c.study_id == study_id)
    per_trial: Iterable[sa.Table] = (
        t.params,
        t.values,
        t.intermediate,
        t.user_attributes,
        t.system_attributes,
        t.heartbeats,
    )
    for table in per_trial:
        connection.execute(sa.delete(table).where(table.c.trial_id.in_(ids)))
    per_study = (t.trials, t.directions, t.study_user_attributes, t.study_system_attributes, t.studies)
    for table in per_study:
        connection.execute(sa.delete(table).where(table.c.study_id == study_id))
    named = t.at_studies.c.task.contains(sa.literal('"').concat(t.at_signatures.c.task).concat('"'))
    connection.execute(sa.delete(t.at_signatures).where(~sa.exists().where(named)))
