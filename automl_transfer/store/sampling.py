"""A study as a sampler sees it, read from the store in a few queries and then held in memory.

Optuna's samplers call `get_all_trials` several times for each suggestion, and its cached storage
reads every unfinished trial again on each call, through the ORM. Here a refresh reads what is new,
once; suggesting then costs no query, and the finished draft is written in one transaction
(`Trials.create`).
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from automl_transfer.store import tables as t
from automl_transfer.store.reading import distribution, stored_value
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle

_CHUNK = 500  # ids in one IN (...), well below every database's limit
DRAFT_ID = -1
"""Trial id of the draft that is being sampled; nothing in the store has it."""


class SamplingView:
    """Gives a sampler the study as it is now and a blank trial to suggest for.

    Use: `study, trial = view.refresh()`, then `sampler.before_trial(study, trial)`,
    `infer_relative_search_space`, `sample_relative` and `sample_independent` with these two. What the
    sampler notes about the draft (TPE's relative params) is kept in the draft only: other workers
    learn the whole draft from the store when it is created. Not safe from several threads.

    Args:
        running: Read curves and notes of unfinished trials again on each refresh, for pruners that
            compare with running trials. Samplers need only their params, which do not change.
    """

    def __init__(
        self, store: Store, study: StudyHandle, sampler: BaseSampler, *, running: bool = False
    ) -> None:
        self.store = store
        self.handle = study
        self.snapshot = _Snapshot(study, _direction(store, study))
        self.sampler = sampler
        self.running = running
        self._seen = -1
        self._open: set[int] = set()

    def refresh(self) -> tuple[Study, FrozenTrial]:
        """The study as of now, and a RUNNING draft whose number is the next free one.

        `constant_liar` filters out the trial with the draft's own number; the next free number keeps
        all others in sight.
        """
        self.store.read(self._read, "read the study for the sampler")
        study = optuna.load_study(
            study_name=self.handle.name, storage=self.snapshot, sampler=self.sampler
        )  # a new object: Study keeps the trials of its last `ask`
        draft = FrozenTrial(
            number=self.snapshot.next_number(),
            state=OptunaState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=DRAFT_ID,
        )
        self.snapshot.draft = draft
        return study, draft

    def _read(self, connection: sa.Connection) -> None:
        columns = sa.select(
            t.trials.c.trial_id,
            t.trials.c.number,
            t.trials.c.state,
            t.trials.c.datetime_start,
            t.trials.c.datetime_complete,
            t.at_trials.c.root,
        ).outerjoin(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        mine = t.trials.c.study_id == self.handle.study_id
        first = self._seen < 0
        found = list(connection.execute(columns.where(mine, t.trials.c.trial_id > self._seen)))
        for chunk in _chunks(sorted(self._open)):
            found += connection.execute(columns.where(t.trials.c.trial_id.in_(chunk)))
        changed = [row for row in found if self._is_news(row)]
        if not changed:
            return
        details = _details(connection, self.handle.study_id, None if first else [r.trial_id for r in changed])
        for row in changed:
            self.snapshot.trials[row.number] = details.frozen(row)
            self._seen = max(self._seen, row.trial_id)
            if row.state.is_finished():
                self._open.discard(row.trial_id)
            else:
                self._open.add(row.trial_id)

    def _is_news(self, row: Any) -> bool:
        """Whether a trial must be read (again): new, changed, of someone else, or curves are wanted."""
        known = self.snapshot.trials.get(row.number)
        return known is None or known.state != row.state or row.root is None or self.running


class _Details:
    """Params, values, curves and notes of some trials."""

    def __init__(self) -> None:
        self.params: dict[int, dict[str, Any]] = defaultdict(dict)
        self.distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
        self.values: dict[int, dict[int, float]] = defaultdict(dict)
        self.curves: dict[int, dict[int, float]] = defaultdict(dict)
        self.notes: dict[int, dict[str, Any]] = defaultdict(dict)

    def frozen(self, row: Any) -> FrozenTrial:
        values = self.values.get(row.trial_id)
        return FrozenTrial(
            number=row.number,
            state=row.state,
            value=None,
            values=[values[k] for k in sorted(values)] if values else None,
            datetime_start=_local(row.datetime_start),
            datetime_complete=_local(row.datetime_complete),
            params=self.params.get(row.trial_id, {}),
            distributions=self.distributions.get(row.trial_id, {}),
            user_attrs={},
            system_attrs=self.notes.get(row.trial_id, {}),
            intermediate_values=self.curves.get(row.trial_id, {}),
            trial_id=row.trial_id,
        )


def _details(connection: sa.Connection, study_id: int, ids: Sequence[int] | None) -> _Details:
    """Read the details of some trials of a study, or of all with `ids` None."""
    found = _Details()
    of_study = sa.select(t.trials.c.trial_id).where(t.trials.c.study_id == study_id)
    for chunk in [None] if ids is None else _chunks(ids):

        def among(table: sa.Table, chunk: Sequence[int] | None = chunk) -> sa.ColumnElement[bool]:
            return table.c.trial_id.in_(of_study if chunk is None else chunk)

        p, v, i, s = t.params, t.values, t.intermediate, t.system_attributes
        for trial_id, name, value, text in connection.execute(
            sa.select(p.c.trial_id, p.c.param_name, p.c.param_value, p.c.distribution_json)
            .where(among(p))
            .order_by(p.c.param_id)
        ):
            found.distributions[trial_id][name] = known = distribution(text)
            found.params[trial_id][name] = known.to_external_repr(value)
        for trial_id, objective, value, kind in connection.execute(
            sa.select(v.c.trial_id, v.c.objective, v.c.value, v.c.value_type).where(among(v))
        ):
            found.values[trial_id][objective] = stored_value(value, kind)
        for trial_id, step, value, kind in connection.execute(
            sa.select(i.c.trial_id, i.c.step, i.c.intermediate_value, i.c.intermediate_value_type).where(
                among(i)
            )
        ):
            found.curves[trial_id][step] = float("nan") if kind.name == "NAN" else _curve_value(value, kind)
        for trial_id, key, text in connection.execute(
            sa.select(s.c.trial_id, s.c.key, s.c.value_json).where(among(s))
        ):
            found.notes[trial_id][key] = json.loads(text)
    return found


def _curve_value(value: float | None, kind: Any) -> float:
    return {"INF_POS": float("inf"), "INF_NEG": float("-inf")}.get(kind.name, value or 0.0)


def _chunks(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]


def _local(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _direction(store: Store, study: StudyHandle) -> StudyDirection:
    query = sa.select(t.directions.c.direction).where(t.directions.c.study_id == study.study_id)
    return store.read(lambda c: c.execute(query).scalars().first(), "read the study") or (
        StudyDirection.MAXIMIZE
    )


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError("a sampling view only reads: write through store.trials.Trials")


class _Snapshot(BaseStorage):
    """The part of Optuna's storage interface that samplers and pruners read, answered from memory."""

    def __init__(self, study: StudyHandle, direction: StudyDirection) -> None:
        self.study = study
        self.direction = direction
        self.trials: dict[int, FrozenTrial] = {}
        self.draft: FrozenTrial | None = None

    def next_number(self) -> int:
        return max(self.trials, default=-1) + 1

    def get_study_id_from_name(self, study_name: str) -> int:
        return self.study.study_id

    def get_study_name_from_id(self, study_id: int) -> str:
        return self.study.name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [self.direction]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def get_all_studies(self) -> NoReturn:
        _refuse()

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if trial_id == DRAFT_ID and self.draft is not None:
            return self.draft
        for trial in self.trials.values():
            if trial._trial_id == trial_id:
                return trial
        raise KeyError(f"no trial with id {trial_id} in this view")

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        found = [
            trial
            for _, trial in sorted(self.trials.items())
            if states is None or trial.state in states
        ]  # fmt: skip
        return copy.deepcopy(found) if deepcopy else found

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """A sampler's note about its draft; a pruner's note about a running trial is refused."""
        if trial_id != DRAFT_ID or self.draft is None:
            _refuse()
        self.draft._system_attrs[key] = value

    create_new_study = _refuse
    create_new_trial = _refuse
    delete_study = _refuse
    set_study_system_attr = _refuse
    set_study_user_attr = _refuse
    set_trial_intermediate_value = _refuse
    set_trial_param = _refuse
    set_trial_state_values = _refuse
    set_trial_user_attr = _refuse
