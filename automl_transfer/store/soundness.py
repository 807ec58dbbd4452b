"""What Optuna's tables hold about a study's trials, looked over for what no sampler or pruner could use."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution

from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import parsing
from automl_transfer.store import tables as t
from automl_transfer.store.optuna_names import RUNG

ENDS = 500
"""Trials at each end of a study whose distributions are those of the study."""
_KINDS = ("FINITE", "INF_POS", "INF_NEG", "NAN")


def distributions(connection: sa.Connection, study_id: int) -> dict[str, BaseDistribution]:
    """The distribution of each parameter of a study: of those that can be read, the one of most trials.

    Of a large study its first and its last trials speak for all: a worker that joins waits for this.
    """
    return _commonest(_groups(connection, study_id, ends=ENDS))


def _commonest(groups: list[Any]) -> dict[str, BaseDistribution]:
    known: dict[str, BaseDistribution] = {}
    for group in groups:
        if group.param_name not in known:
            try:
                known[group.param_name] = parsing.distribution(group.distribution_json, group.param_name)
            except UnreadableRowError:
                continue
    return known


def unsound(connection: sa.Connection, study_id: int) -> dict[int, str]:
    """Trials by id whose parameters, rungs or curves cannot be used, each with a reason.

    A few queries that answer little, whatever the size of the study, while all is well.
    """
    found: dict[int, str] = {}
    groups = _groups(connection, study_id)
    known = _commonest(groups)
    for group in groups:
        try:
            _check_group(group, known.get(group.param_name))
        except UnreadableRowError:
            found |= _odd_parameters(connection, study_id, group, known.get(group.param_name))
    s = t.system_attributes
    notes = (
        sa.select(s.c.trial_id, s.c.key, s.c.value_json)
        .join(t.trials, t.trials.c.trial_id == s.c.trial_id)
        .where(t.trials.c.study_id == study_id, s.c.key.startswith(RUNG, autoescape=True))
    )
    for trial_id, key, text in connection.execute(notes):
        try:
            parsing.rung(key, text)
        except UnreadableRowError as error:
            found[trial_id] = str(error)
    i = t.intermediate
    kind = sa.cast(i.c.intermediate_value_type, sa.String)
    value = parsing.raw(i.c.intermediate_value)
    odd = sa.or_(
        kind.not_in(_KINDS),
        i.c.step < 0,
        sa.and_(kind == "FINITE", i.c.intermediate_value.is_(None)),
        *_no_number(connection, i.c.intermediate_value),
    )
    curves = (
        sa.select(i.c.trial_id, i.c.step, value, parsing.raw(i.c.intermediate_value_type))
        .join(t.trials, t.trials.c.trial_id == i.c.trial_id)
        .where(t.trials.c.study_id == study_id, odd)
    )
    for trial_id, step, found_value, found_kind in connection.execute(curves):
        try:
            parsing.whole(step, "epoch")
            parsing.number(found_value, found_kind, f"value after epoch {step}")
        except UnreadableRowError as error:
            found[trial_id] = str(error)
    return found


def _groups(connection: sa.Connection, study_id: int, ends: int | None = None) -> list[Any]:
    """The parameters of a study by name and distribution, the commonest first.

    With `ends`, only of its first and of its last so many trials.
    """
    p, number = t.params, t.trials.c.number
    last = sa.select(sa.func.max(number)).where(t.trials.c.study_id == study_id).scalar_subquery()
    among = sa.true() if ends is None else sa.or_(number < ends, number > last - ends)
    query = (
        sa.select(
            p.c.param_name,
            p.c.distribution_json,
            sa.func.count().label("rows"),
            sa.func.count(p.c.param_value).label("values"),
            sa.func.min(p.c.param_value, type_=sa.String).label("low"),
            sa.func.max(p.c.param_value, type_=sa.String).label("high"),
        )
        .join(t.trials, t.trials.c.trial_id == p.c.trial_id)
        .where(t.trials.c.study_id == study_id, among)
        .group_by(p.c.param_name, p.c.distribution_json)
        .order_by(sa.func.count().desc(), sa.func.min(p.c.param_id))
    )
    return list(connection.execute(query))


def _check_group(group: Any, known: BaseDistribution | None) -> None:
    """Values sort, so the least and the greatest speak for those between."""
    found = parsing.distribution(group.distribution_json, group.param_name)
    parsing.matches(known, found, group.param_name)
    if group.values < group.rows:
        raise UnreadableRowError("a value is missing")
    for value in (group.low, group.high):
        parsing.parameter(found, value, group.param_name)


def _odd_parameters(
    connection: sa.Connection, study_id: int, group: Any, known: BaseDistribution | None
) -> dict[int, str]:
    p = t.params
    query = (
        sa.select(p.c.trial_id, parsing.raw(p.c.param_value))
        .join(t.trials, t.trials.c.trial_id == p.c.trial_id)
        .where(
            t.trials.c.study_id == study_id,
            p.c.param_name == group.param_name,
            p.c.distribution_json == group.distribution_json,
        )
    )
    odd: dict[int, str] = {}
    for trial_id, value in connection.execute(query):
        try:
            found = parsing.distribution(group.distribution_json, group.param_name)
            parsing.matches(known, found, group.param_name)
            parsing.parameter(found, value, group.param_name)
        except UnreadableRowError as error:
            odd[trial_id] = str(error)
    return odd


def _no_number(connection: sa.Connection, column: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
    """SQLite keeps whatever it is given, text in a column of numbers too."""
    if connection.dialect.name != "sqlite":
        return []
    return [sa.func.typeof(column).not_in(("real", "integer", "null"))]
