"""A study as samplers and pruners see it: read in a few queries, held in memory, one trial a strategy.

Optuna's samplers call `get_all_trials` several times for each suggestion, and its cached storage
reads every unfinished trial again on each call, through the ORM. Here a refresh reads what is new,
once; suggesting then costs no query, and the finished draft is written in one transaction
(`Trials.create`). A strategy that crashed and was continued is several trials of one root: it is
shown once, under its root's number (from which Hyperband derives its bracket).
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections import defaultdict
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from automl_transfer.errors import TrialLostError
from automl_transfer.store import tables as t
from automl_transfer.store.reading import distribution, stored_value
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle

_CHUNK = 500  # ids in one IN (...), well below every database's limit
DRAFT_ID = -1
"""Trial id of the draft that is being sampled; nothing in the store has it."""


class SamplingView:
    """Gives samplers and pruners the study as it is now, and no way to change a trial.

    What a sampler notes about its draft (TPE's relative params) stays in the draft: other workers
    learn the whole draft from the store when it is created. What a pruner notes about a running trial
    (its rungs) is written. Everything else is refused. Not safe from several threads.
    """

    def __init__(self, store: Store, study: StudyHandle) -> None:
        self.store = store
        self.handle = study
        self._snapshot = _Snapshot(store, study)
        self._seen = -1
        self._open: set[int] = set()

    def draft(self, sampler: BaseSampler) -> tuple[Study, FrozenTrial]:
        """The study as of now, and a blank RUNNING trial whose number is the next free one.

        `constant_liar` filters out the trial with the draft's own number; the next free number keeps
        all others in sight. Curves of running trials may be old: samplers do not read them.
        """
        self._refresh(curves=False)
        draft = FrozenTrial(
            number=self._snapshot.next_number(),
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
        self._snapshot.draft = draft
        return self._study(sampler=sampler), draft

    def should_prune(self, pruner: BasePruner, trial_id: int) -> bool:
        """Whether the pruner would stop a trial, with all curves as they are now.

        Raises:
            TrialLostError: The trial is no longer its root's newest, or no longer running.
        """
        self._refresh(curves=True)
        trial = self._snapshot.find(trial_id)
        if trial is None or trial.state.is_finished():
            raise TrialLostError("the trial belongs to another worker now")
        return self.store.patience.run(
            lambda: bool(pruner.prune(self._study(pruner=pruner), trial)), "ask the pruner"
        )

    def trials(self, *, patient: bool = True) -> list[FrozenTrial]:
        """Each strategy's latest trial as of now; curves of running ones may be old.

        Raises:
            StoreUnavailableError: The store does not answer: at once where not `patient`.
        """
        self._refresh(curves=False, patient=patient)
        return self._snapshot.latest()

    def _study(self, **parts: Any) -> Study:
        # A new object each time: Study keeps the trials of its last `ask`.
        return optuna.load_study(study_name=self.handle.name, storage=self._snapshot, **parts)

    def _refresh(self, *, curves: bool, patient: bool = True) -> None:
        patience = self.store.patience
        self.store.read(
            lambda connection: self._read(connection, curves),
            "read the study's trials",
            patience=patience if patient else dataclasses.replace(patience, seconds=0.0),
        )

    def _read(self, connection: sa.Connection, curves: bool) -> None:
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
        changed = [row for row in found if curves or self._is_news(row)]
        if not changed:
            return
        details = _details(connection, self.handle.study_id, None if first else [r.trial_id for r in changed])
        for row in changed:
            self._snapshot.put(details.frozen(row), row.number if row.root is None else row.root)
            self._seen = max(self._seen, row.trial_id)
            if row.state.is_finished():
                self._open.discard(row.trial_id)
            else:
                self._open.add(row.trial_id)

    def _is_news(self, row: Any) -> bool:
        """Whether a trial must be read (again): new, changed, or of someone else's making."""
        known = self._snapshot.by_number.get(row.number)
        return known is None or known.state != row.state or row.root is None


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
    """The part of Optuna's storage interface that samplers and pruners use, answered from memory."""

    def __init__(self, store: Store, study: StudyHandle) -> None:
        self.store = store
        self.study = study
        self.direction = _direction(store, study)
        self.by_number: dict[int, FrozenTrial] = {}
        self.draft: FrozenTrial | None = None
        self._roots: dict[int, FrozenTrial] = {}
        self._newest: dict[int, int] = {}

    def put(self, trial: FrozenTrial, root: int) -> None:
        """Take in a trial as it is now."""
        self.by_number[trial.number] = trial
        if trial.number >= self._newest.get(root, -1):
            self._newest[root] = trial.number
            self._roots[root] = trial
            if trial.number != root:
                self._roots[root] = copy.copy(trial)
                self._roots[root].number = root

    def latest(self) -> list[FrozenTrial]:
        """The newest trial of every root, under its root's number."""
        return [trial for _, trial in sorted(self._roots.items())]

    def find(self, trial_id: int) -> FrozenTrial | None:
        """A root's newest trial by its id, or None."""
        return next((trial for trial in self._roots.values() if trial._trial_id == trial_id), None)

    def next_number(self) -> int:
        return max(self.by_number, default=-1) + 1

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
        trial = self.draft if trial_id == DRAFT_ID else self.find(trial_id)
        if trial is None:
            raise KeyError(f"no trial with id {trial_id} in this view")
        return trial

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        found = [trial for trial in self.latest() if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """A sampler's note about its draft is kept; a pruner's note about a running trial is written."""
        trial = self.get_trial(trial_id)
        if trial_id != DRAFT_ID:
            self.store.optuna_storage.set_trial_system_attr(trial_id, key, value)
        trial._system_attrs[key] = value

    create_new_study = _refuse
    create_new_trial = _refuse
    delete_study = _refuse
    set_study_system_attr = _refuse
    set_study_user_attr = _refuse
    set_trial_intermediate_value = _refuse
    set_trial_param = _refuse
    set_trial_state_values = _refuse
    set_trial_user_attr = _refuse
