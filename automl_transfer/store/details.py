"""What Optuna's tables hold about some trials, read row by row for samplers and pruners."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import parsing
from automl_transfer.store import tables as t
from automl_transfer.store.optuna_names import RUNG

_CHUNK = 500  # ids in one IN (...), well below every database's limit


class Details:
    """Params, values, curves and rungs of some trials, or of a whole study with `ids` None.

    A row that cannot be read is kept against its trial alone.
    """

    def __init__(
        self,
        connection: sa.Connection,
        study_id: int,
        ids: Sequence[int] | None,
        known: dict[str, BaseDistribution],
    ) -> None:
        self._params: dict[int, dict[str, Any]] = defaultdict(dict)
        self._distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
        self._values: dict[int, dict[int, float]] = defaultdict(dict)
        self._curves: dict[int, dict[int, float]] = defaultdict(dict)
        self._rungs: dict[int, dict[str, Any]] = defaultdict(dict)
        self._odd: dict[int, UnreadableRowError] = {}
        self._known = known
        for chunk in [None] if ids is None else chunks(ids):
            self._read(connection, study_id, chunk)

    def frozen(self, row: Any) -> FrozenTrial:
        """A trial as Optuna has it.

        Raises:
            UnreadableRowError: A row of it cannot be read.
        """
        if row.trial_id in self._odd:
            raise self._odd[row.trial_id]
        number, state = parsing.whole(row.number, "number"), parsing.state(row.state)
        values = self._values.get(row.trial_id)
        if row.paused is not None:
            state, values = OptunaState.PRUNED, {0: parsing.number(row.paused, "FINITE", "value at a rung")}
        if values is not None and list(values) != [0]:
            raise UnreadableRowError(f"it must have one objective, got {len(values)} values")
        if values is None and state is OptunaState.COMPLETE:
            raise UnreadableRowError("a complete trial must have a value, it has none")
        return FrozenTrial(
            number=number,
            state=state,
            value=None if values is None else values[0],
            datetime_start=_local(row.datetime_start),
            datetime_complete=_local(row.datetime_complete),
            params=self._params.get(row.trial_id, {}),
            distributions=self._distributions.get(row.trial_id, {}),
            user_attrs={},
            system_attrs=self._rungs.get(row.trial_id, {}),
            intermediate_values=self._curves.get(row.trial_id, {}),
            trial_id=row.trial_id,
        )

    def _read(self, connection: sa.Connection, study_id: int, chunk: Sequence[int] | None) -> None:
        of_study = sa.select(t.trials.c.trial_id).where(t.trials.c.study_id == study_id)

        def among(table: sa.Table) -> sa.ColumnElement[bool]:
            return table.c.trial_id.in_(of_study if chunk is None else chunk)

        p, v, i, s = t.params, t.values, t.intermediate, t.system_attributes
        spaces: dict[tuple[str, Any], BaseDistribution] = {}
        for trial_id, name, value, text in connection.execute(
            sa.select(p.c.trial_id, p.c.param_name, parsing.raw(p.c.param_value), p.c.distribution_json)
            .where(among(p))
            .order_by(p.c.param_id)
        ):
            try:
                space = spaces.get((name, text))
                if space is None:
                    space = parsing.distribution(text, name)
                    parsing.matches(self._known.setdefault(name, space), space, name)
                    spaces[name, text] = space
                self._params[trial_id][name] = parsing.parameter(space, value, name)
                self._distributions[trial_id][name] = space
            except UnreadableRowError as error:
                self._odd[trial_id] = error
        for trial_id, objective, value, kind in connection.execute(
            sa.select(v.c.trial_id, v.c.objective, parsing.raw(v.c.value), parsing.raw(v.c.value_type)).where(
                among(v)
            )
        ):
            try:
                self._values[trial_id][objective] = parsing.number(value, kind, "value")
            except UnreadableRowError as error:
                self._odd[trial_id] = error
        for trial_id, step, value, kind in connection.execute(
            sa.select(
                i.c.trial_id,
                i.c.step,
                parsing.raw(i.c.intermediate_value),
                parsing.raw(i.c.intermediate_value_type),
            ).where(among(i))
        ):
            try:
                epoch = parsing.whole(step, "epoch")
                self._curves[trial_id][epoch] = parsing.number(value, kind, f"value after epoch {step}")
            except UnreadableRowError as error:
                self._odd[trial_id] = error
        for trial_id, key, text in connection.execute(
            sa.select(s.c.trial_id, s.c.key, s.c.value_json).where(
                among(s), s.c.key.startswith(RUNG, autoescape=True)
            )
        ):
            try:
                self._rungs[trial_id][key] = parsing.rung(key, text)
            except UnreadableRowError as error:
                self._odd[trial_id] = error


def chunks(ids: Sequence[int]) -> list[Sequence[int]]:
    """Ids in parts that fit into one query."""
    return [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]


def _local(value: Any) -> datetime | None:
    time = parsing.moment(value)
    return None if time is None else time.astimezone().replace(tzinfo=None)
